package eal

// SetSysfs puts another folder in the place of /sys, for tests.
func SetSysfs(dir string) { sysfs = dir }

// DriverDir is where DPDK loads drivers from.
func DriverDir() string { dir, _ := driverDir(); return dir }
