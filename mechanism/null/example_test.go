package null_test

import (
	"fmt"
	"log"

	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/mechanism/null"
)

// The same calls as with any mechanism, and no security.
func ExampleMechanism() {
	m := null.Mechanism()
	fmt.Println(m.Suite(), "secure:", m.Traits().Secure)

	var sides [2]mechanism.Handshake
	var err error
	for role := range sides {
		if sides[role], err = m.NewHandshake(mechanism.Config{Role: mechanism.Role(role)}); err != nil {
			log.Fatal(err)
		}
	}
	for n := range sides {
		message, err := sides[n].AppendMessage(nil, nil)
		if err != nil {
			log.Fatal(err)
		}
		if _, err := sides[1-n].ReadMessage(nil, message); err != nil {
			log.Fatal(err)
		}
	}
	s, err := sides[mechanism.Initiator].Session()
	if err != nil {
		log.Fatal(err)
	}
	record, err := s.Encode(nil, mechanism.Data, []byte("anyone can read this"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%q\n", record)
	// Output:
	// NULL secure: false
	// "\x00\x15\x00anyone can read this"
}
