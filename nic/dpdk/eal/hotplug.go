package eal

// #include <stdlib.h>
// #include "eal.h"
import "C"

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unsafe"
)

// ErrExists is returned for a device name that is in use.
var ErrExists = errors.New("a device of this name is open already")

// HotplugAdd makes DPDK probe the device: a PCI address, or the name of a virtual
// device with its arguments behind a comma ("net_af_packet0,iface=eth1").
//
//	error: what CheckDevice finds, ErrExists, what DPDK says; names the device
//	conc:  safe for concurrent use
func HotplugAdd(device string) error {
	if err := CheckDevice(device); err != nil {
		return err
	}
	bus, name, args := splitDevice(device)
	return Do(func() error {
		if state.devices[name] {
			return fmt.Errorf("device %s: %w", name, ErrExists)
		}
		if bus == "pci" && !slices.Contains(state.pci, name) {
			return fmt.Errorf("PCI device %s: %w: it must be listed when DPDK starts (eal.Options.PCI)", name, ErrNoDevice)
		}
		if err := checkInterface(device); err != nil {
			return err
		}
		cbus, cname, cargs := C.CString(bus), C.CString(name), C.CString(args)
		defer C.free(unsafe.Pointer(cbus))
		defer C.free(unsafe.Pointer(cname))
		defer C.free(unsafe.Pointer(cargs))
		state.log.collect()
		err := AsError(int(C.baton_eal_hotplug_add(cbus, cname, cargs)))
		if err != nil {
			return fmt.Errorf("device %s: DPDK did not take it: %w%s", device, err, because(state.log.collect()))
		}
		state.devices[name] = true // DPDK itself takes a second add for a success
		return nil
	})
}

// HotplugRemove undoes HotplugAdd. The device's ports must be closed.
//
//	error: ErrNoDevice, what DPDK says
//	conc:  safe for concurrent use
func HotplugRemove(device string) error {
	bus, name, _ := splitDevice(device)
	return Do(func() error {
		if bus == "vdev" && !state.devices[name] {
			return fmt.Errorf("device %s: remove: %w", name, ErrNoDevice)
		}
		cbus, cname := C.CString(bus), C.CString(name)
		defer C.free(unsafe.Pointer(cbus))
		defer C.free(unsafe.Pointer(cname))
		if err := AsError(int(C.baton_eal_hotplug_remove(cbus, cname))); err != nil {
			return fmt.Errorf("device %s: remove: %w", name, err)
		}
		delete(state.devices, name)
		return nil
	})
}

// Problems are DPDK's complaints since the last call of a function of this
// package, for the text of an error; empty if there are none. To be called inside Do.
func Problems() string { return because(state.log.collect()) }

// because appends DPDK's own words to an error's text.
func because(text string) string {
	if text == "" {
		return ""
	}
	return " (" + text + ")"
}

// splitDevice is the bus, the name and the arguments of a device string.
func splitDevice(device string) (bus, name, args string) {
	name, args, _ = strings.Cut(device, ",")
	if IsPCI(name) {
		return "pci", name, args
	}
	return "vdev", name, args
}
