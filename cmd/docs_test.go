package cmd_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baton/dataplane/stats"
)

// pages are README.md and all Markdown files below docs, from the top of the
// source tree.
func pages(t *testing.T) []string {
	t.Helper()
	all := []string{"../README.md"}
	err := filepath.WalkDir("../docs", func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && filepath.Ext(path) == ".md" {
			all = append(all, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// The pages of configuration keys are printed by the programs.
func TestDocs_ConfigurationKeys(t *testing.T) {
	for _, program := range []string{"batond", "baton-controller"} {
		out, err := exec.Command("go", "run", "./"+program, "config", "doc").Output()
		if err != nil {
			t.Fatalf("%s config doc: %v", program, err)
		}
		page := "../docs/" + program + "-config.md"
		if d := cmp.Diff(string(out), read(t, page)); d != "" {
			t.Errorf("%s is not what '%s config doc' prints: run 'make docs' (-printed +page):\n%s", page, program, d)
		}
	}
}

// Every reason for a drop is explained, and nothing else is called a reason.
func TestDocs_DropReasons(t *testing.T) {
	rows := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\| [^|]+ \\| [^|]+ \\|$").FindAllStringSubmatch(read(t, "../docs/troubleshoot.md"), -1) {
		rows[m[1]] = true
	}
	for r := stats.DropNone + 1; int(r) < stats.NumDropReasons; r++ {
		name := r.String()
		if !rows[name] {
			t.Errorf("docs/troubleshoot.md has no row for %s", name)
		}
		delete(rows, name)
	}
	for name := range rows {
		t.Errorf("docs/troubleshoot.md explains %s, which is no reason", name)
	}
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// Links to other files lead somewhere, and to a heading that is there.
func TestDocs_Links(t *testing.T) {
	checked := 0
	for _, page := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(read(t, page), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			checked++
			target, anchor, _ := strings.Cut(m[1], "#")
			path := page
			if target != "" {
				path = filepath.Join(filepath.Dir(page), target)
			}
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s: link to %s: %v", page, m[1], err)
			} else if anchor != "" && !hasHeading(read(t, path), anchor) {
				t.Errorf("%s: link to %s: no such heading", page, m[1])
			}
		}
	}
	if checked == 0 {
		t.Error("no links found: is the pattern right?")
	}
}

// hasHeading reports whether a page has the heading that GitHub gives this anchor.
func hasHeading(page, anchor string) bool {
	drop := regexp.MustCompile(`[^a-z0-9 _-]`)
	for line := range strings.Lines(page) {
		if text, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " "); ok && strings.HasPrefix(line, "#") {
			text = drop.ReplaceAllString(strings.ToLower(strings.TrimSpace(text)), "")
			if strings.ReplaceAll(text, " ", "-") == anchor {
				return true
			}
		}
	}
	return false
}

// Every make target that a page names exists.
func TestDocs_MakeTargets(t *testing.T) {
	targets := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^([a-z0-9-]+):.*## `).FindAllStringSubmatch(read(t, "../Makefile"), -1) {
		targets[m[1]] = true
	}
	for _, m := range regexp.MustCompile(`(?m)^(bin/[a-z0-9/ -]+):`).FindAllStringSubmatch(read(t, "../Makefile"), -1) {
		for _, file := range strings.Fields(m[1]) { // a program is a target by its path
			targets[file] = true
		}
	}
	// In code only: prose says "make sure" too.
	code := regexp.MustCompile("(?s)```.*?```|`[^`\n]+`")
	command := regexp.MustCompile(`(?m)^\x60*(?:[A-Z_]+=\S+ )*make ([a-z][a-z0-9/-]*)`)
	named := 0
	for _, page := range pages(t) {
		for _, c := range code.FindAllString(read(t, page), -1) {
			for _, m := range command.FindAllStringSubmatch(c, -1) {
				named++
				if !targets[m[1]] {
					t.Errorf("%s: 'make %s': there is no such target", page, m[1])
				}
			}
		}
	}
	if named == 0 || len(targets) == 0 {
		t.Errorf("%d commands and %d targets found: are the patterns right?", named, len(targets))
	}
}

// Every page is listed in docs/README.md, every program in README.md.
func TestDocs_Lists(t *testing.T) {
	index := read(t, "../docs/README.md")
	for _, page := range pages(t) {
		rel, err := filepath.Rel("../docs", page)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(rel, "..") || rel == "README.md" || strings.HasPrefix(rel, "decisions/") {
			continue
		}
		if !strings.Contains(index, "("+rel+")") {
			t.Errorf("docs/README.md does not list %s", rel)
		}
	}
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() && e.Name() != "internal" && !strings.Contains(read(t, "../README.md"), "`"+e.Name()+"`") {
			t.Errorf("README.md does not name the program %s", e.Name())
		}
	}
}
