package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/securesp/securesp/keys"
)

// keygen makes a key.
func keygen(_ context.Context, std stdio, args []string) error {
	flags := newFlags()
	shared := flags.Bool("psk", false, "")
	service := flags.Bool("service", false, "")
	files, err := parse(flags, args, "FILE")
	switch {
	case err != nil:
		return err
	case *shared && *service:
		return usagef("pass only one of -psk and -service")
	case looksSecret(files[0]):
		return usageError{secretInArguments}
	}
	public, err := newKey(files[0], *shared, *service)
	if err != nil {
		return err
	}
	if public != nil {
		fmt.Fprintln(std.out, public)
	}
	return nil
}

// newKey makes a key of the wanted kind, saves it and returns its public key,
// if that kind has one.
func newKey(path string, shared, service bool) (fmt.Stringer, error) {
	switch {
	case shared:
		key, err := keys.GenerateShared()
		if err != nil {
			return nil, err
		}
		return nil, key.Save(path)
	case service:
		key, err := keys.GenerateService()
		if err != nil {
			return nil, err
		}
		return key.Public(), key.Save(path)
	}
	key, err := keys.Generate()
	if err != nil {
		return nil, err
	}
	return key.Public(), key.Save(path)
}

// pub prints the public key of a private one.
func pub(_ context.Context, std stdio, args []string) error {
	flags := newFlags()
	name := flags.String("name", "", "")
	files, err := parse(flags, args, "FILE")
	switch {
	case err != nil:
		return err
	case looksSecret(files[0]):
		return usageError{secretInArguments}
	case strings.ContainsFunc(*name, func(r rune) bool { return unicode.IsSpace(r) || r == '#' || r == '=' }):
		return usagef("-name: a name in a trust file has no spaces and neither '#' nor '='")
	}
	public, err := loadPublic(files[0])
	if err != nil {
		return configError(err)
	}
	fmt.Fprintln(std.out, strings.TrimSpace(public.String()+" "+*name))
	return nil
}

// loadPublic returns the public key that belongs to the key in a file.
func loadPublic(path string) (fmt.Stringer, error) {
	private, err := keys.Load(path)
	if err == nil {
		return private.Public(), nil
	}
	if errors.Is(err, keys.ErrFormat) {
		if service, serviceErr := keys.LoadService(path); serviceErr == nil {
			return service.Public(), nil
		}
	}
	return nil, err
}
