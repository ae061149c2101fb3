package main

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"slices"
)

// chart draws the headlines among the rows as horizontal bars on a logarithmic
// scale: how many times better than the peer, whichever direction better is.
func chart(rows []row) []byte {
	const (
		left, width, line = 470, 420, 22
		decades           = 2.2
	)
	rows = slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return !r.Headline })
	var b bytes.Buffer
	height := line*len(rows) + 60
	x := func(factor float64) float64 {
		f := math.Log10(factor) + .5
		return left + width*min(max(f/decades, 0), 1)
	}
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", left+width+70, height)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/><text x="10" y="20" font-weight="bold">securesp: how many times better than the peer (log scale; the bar ends at the median of the rounds)</text>`+"\n")
	for _, mark := range []float64{.5, 1, 2, 5, 10, 20, 50} {
		fmt.Fprintf(&b, `<line x1="%.0f" x2="%.0f" y1="34" y2="%d" stroke="#ddd"/><text x="%.0f" y="%d" fill="#666" text-anchor="middle">%g×</text>`+"\n", x(mark), x(mark), height-20, x(mark), height-6, mark)
	}
	for i, r := range rows {
		factor := r.Ratio
		if r.LowerIsBetter {
			factor = 1 / factor
		}
		y := 40 + line*i
		colour := map[string]string{"reach": "#2a9d5c", "hold": "#4a7fc1", "MISSED": "#c1584a"}[r.Verdict]
		from, to := min(x(1), x(factor)), max(x(1), x(factor))
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s: %s / %s</text>`, left-8, y+13, html.EscapeString(r.Workload), html.EscapeString(r.Ours), html.EscapeString(r.Peer))
		fmt.Fprintf(&b, `<rect x="%.1f" y="%d" width="%.1f" height="14" fill="%s"/><text x="%.1f" y="%d">%.2g×</text>`+"\n", from, y+2, max(to-from, 1), colour, to+5, y+13, factor)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}
