package main

import (
	"errors"

	"github.com/ringside/ringside/api"
	"github.com/ringside/ringside/capture"
	"github.com/ringside/ringside/config"
)

// located gives the errors that the configuration can cure the place of their key in the file, which the parts do not
// know.
func located(cfg *config.Config, err error) error {
	var all config.Error
	for _, wrong := range configErrors(err) {
		var one *config.Error
		if errors.As(cfg.Problem(wrong.key, wrong.err.Error()), &one) {
			all.Problems = append(all.Problems, one.Problems...)
		}
	}
	if all.Problems == nil {
		return err
	}
	return &all
}

// wrong is a key of the configuration and what is wrong with its value.
type wrong struct {
	key string
	err error
}

// configErrors finds what capture or api have joined.
func configErrors(err error) (list []wrong) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			list = append(list, configErrors(e)...)
		}
		return list
	}
	var captured *capture.ConfigError
	var served *api.ConfigError
	switch {
	case errors.As(err, &captured):
		list = append(list, wrong{captured.Key, captured.Err})
	case errors.As(err, &served):
		list = append(list, wrong{served.Key, served.Err})
	}
	return list
}
