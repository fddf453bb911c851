// Package report writes comparisons down: as Markdown for people, as JSON for programs.
package report
