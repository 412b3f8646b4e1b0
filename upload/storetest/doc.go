// Package storetest holds stores to what upload.Store promises: every implementation runs the same tests.
package storetest
