package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// held is what a process holds, as seen from outside.
type held struct {
	exact      string // files, mappings of files, children, by kind
	files      int    // open
	mappings   int
	threads    int
	goroutines int
	rss        int // MiB
	buffers    int // in use
	huge       int // MiB in huge pages
	paths      int // files in the host's folders
}

func (h held) String() string {
	return fmt.Sprintf("files %d, mappings %d, threads %d, goroutines %d, rss %d MiB, buffers %d, huge pages %d MiB, paths %d",
		h.files, h.mappings, h.threads, h.goroutines, h.rss, h.buffers, h.huge, h.paths)
}

// What a process may have more of than the first one: threads come as goroutines block, each with a
// stack and the allocator's own memory.
const (
	moreThreads  = 8
	moreMappings = 40
)

// look counts what host1's process holds, and fails the test if it is more than the first one
// that had as many VMs held, and as little a standby. Processes that were started, had it handed over or took it
// over from a dead one are to be alike.
func (s *soak) look() {
	s.t.Helper()
	kind := fmt.Sprintf("standby %v, %d VMs", s.standby, len(s.live()))
	first, known := s.held[kind]
	var now held
	if !known {
		// As it is when it comes to rest.
		waitFor(s.t, s.c, "a process at rest", func() bool {
			was := now
			now = s.count()
			now.rss, was.rss = 0, 0
			return now == was
		})
		s.held[kind] = now
		first = now
	}
	err := s.c.Lab.WaitFor("a process that holds no more than the first of its kind", waitLimit, func() bool {
		now = s.count()
		return now.within(&first)
	})
	if err != nil {
		s.t.Errorf("process %d (%s, %s):\n%v\n%s\nthe first one:\n%v\n%s", s.h1.Proc.Pid(), s.origin, kind, now, now.exact, first, first.exact)
	}
	s.last = now
	s.rss = append(s.rss, now.rss)
}

func (h *held) within(first *held) bool {
	return h.exact == first.exact && h.threads <= first.threads+moreThreads && h.mappings <= first.mappings+moreMappings &&
		h.goroutines <= first.goroutines && h.buffers <= first.buffers && h.huge == first.huge && h.paths <= first.paths
}

var digits = regexp.MustCompile(`[0-9]+`)

// count is what host1's process holds now.
func (s *soak) count() held {
	s.t.Helper()
	pid := s.h1.Proc.Pid()
	kinds := map[string]int{}
	h := held{huge: s.status(pid, "HugetlbPages:") >> 10, paths: s.paths()}
	fds, err := os.ReadDir(procFile(pid, "fd"))
	must(s.t, err)
	for _, fd := range fds {
		// A file that is closed meanwhile is not held.
		if target, err := os.Readlink(procFile(pid, "fd/"+fd.Name())); err == nil {
			h.files++
			kinds["file "+digits.ReplaceAllString(target, "#")]++
		}
	}
	text, err := os.ReadFile(procFile(pid, "maps"))
	must(s.t, err)
	for line := range strings.Lines(string(text)) {
		h.mappings++
		// Address, rights, offset, device, inode, name.
		if f := strings.Fields(line); len(f) > 5 && !strings.HasPrefix(f[5], "[") && !strings.HasPrefix(f[5], "/usr/") && !strings.HasPrefix(f[5], "/lib") {
			kinds["mapping "+digits.ReplaceAllString(f[5], "#")]++
		}
	}
	kinds["child"] = len(children(s.h1, "--"))
	h.threads, h.rss = s.status(pid, "Threads:"), s.status(pid, "RssAnon:")>>10
	if st, err := s.h1.Stats(); err == nil {
		h.goroutines, h.buffers = st.Goroutines, st.Buffers.InUse
	}
	var all []string
	for kind, n := range kinds {
		all = append(all, fmt.Sprintf("%s: %d", kind, n))
	}
	slices.Sort(all)
	h.exact = strings.Join(all, "\n")
	return h
}

// paths counts the files in the folders of host1: sockets, state.
func (s *soak) paths() (n int) {
	for _, dir := range []string{s.h1.StateDir(), filepath.Join(s.h1.StateDir(), "vhost"), filepath.Dir(s.h1.VhostSocket("x")), filepath.Dir(s.h1.Socket)} {
		entries, _ := os.ReadDir(dir) // it may not be there
		n += len(entries)
	}
	return n
}

func procFile(pid int, name string) string { return filepath.Join("/proc", strconv.Itoa(pid), name) }

// status is a number of /proc/PID/status.
func (s *soak) status(pid int, name string) (n int) {
	s.t.Helper()
	text, err := os.ReadFile(procFile(pid, "status"))
	must(s.t, err)
	_, after, _ := strings.Cut(string(text), "\n"+name)
	_, err = fmt.Sscan(after, &n)
	must(s.t, err)
	return n
}

// flat wants that the processes' memory has not grown from the first third of them to the last.
func (s *soak) flat() {
	s.t.Helper()
	if n := len(s.rss) / 3; n >= 5 {
		first, last := middle(s.rss[:n]), middle(s.rss[len(s.rss)-n:])
		s.t.Logf("memory: %d MiB in the first third of %d looks, %d in the last", first, len(s.rss), last)
		if last > first+first/5+8 {
			s.t.Errorf("the processes' memory has grown from %d to %d MiB", first, last)
		}
	}
}

// middle is the median.
func middle(all []int) int {
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2]
}
