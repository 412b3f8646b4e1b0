// Package page looks at reports in a browser, as people do: headless Chromium, at the widths of a desk and of a phone, in light, dark and
// print. It also holds what a report says of packets against what tshark says of them.
package page
