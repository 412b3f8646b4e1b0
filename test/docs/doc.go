// Package docs runs what README and docs tell their readers to type, in a scene (package scene): every block of shell, in
// the order of the page and in one shell, and it loads every configuration that they show. Comments, which readers do not
// see, say what is special:
//
//	<!-- not run: WHY -->     before a block that is for the reader alone
//	<!-- file: NAME -->       before a block that is the contents of a file
//	<!-- run ... -->          around shell that is for the test alone
package docs
