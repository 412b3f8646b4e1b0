// Package canary proves that no secret of the configuration gets out. Every key whose type is a secret, found by
// reflection, has a value of its own, and so has every token; a recorder at debug level uses them against a store and a
// webhook that refuse it and then take it, and everything that it says or writes is searched.
package canary
