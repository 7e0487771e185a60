// Logs in at a letmein server: letmein [--tcp] [--timeout SECONDS] [--password-file FILE] HOST:PORT USER
//
// `go build letmein.go` builds the program. For a program of your own, copy Login and what is below it.
package main

import (
	"bufio"
	"context"
	"crypto/md5"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const usage = "letmein [--tcp] [--timeout SECONDS] [--password-file FILE] HOST:PORT USER"

func main() {
	verdict, err := run()
	switch {
	case errors.Is(err, ErrInput):
		fmt.Fprintf(os.Stderr, "letmein: %v\nusage: %s\n", err, usage)
		os.Exit(2)
	case err != nil:
		fmt.Fprintf(os.Stderr, "letmein: %v\n", err)
		os.Exit(3)
	}
	fmt.Println(verdict)
	if verdict != Welcome {
		os.Exit(1)
	}
}

func run() (Verdict, error) {
	flags := flag.NewFlagSet("letmein", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	tcp := flags.Bool("tcp", false, "")
	timeout := flags.Float64("timeout", 15, "")
	file := flags.String("password-file", "", "")
	// A request for help is an error, too: its status must not be that of a welcome.
	if err := flags.Parse(os.Args[1:]); err != nil {
		return "", fmt.Errorf("%w: %v", ErrInput, err)
	}
	if flags.NArg() != 2 {
		return "", fmt.Errorf("%w: it takes a server and a user", ErrInput)
	}
	password, err := readPassword(*file)
	if err != nil {
		return "", fmt.Errorf("%w: %v", ErrInput, err)
	}
	network := "udp"
	if *tcp {
		network = "tcp"
	}
	return Login(network, flags.Arg(0), flags.Arg(1), password, time.Duration(*timeout*float64(time.Second)))
}

// readPassword reads the first line of a file, or of standard input if there is no path.
func readPassword(path string) (string, error) {
	input := os.Stdin
	if path != "" {
		file, err := os.Open(path)
		if err != nil {
			return "", err
		}
		defer file.Close()
		input = file
	}
	line, err := bufio.NewReader(io.LimitReader(input, passwordMax+3)).ReadString('\n')
	if err != nil && err != io.EOF {
		return "", err
	}
	return strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"), nil
}

// Verdict is what a server says in the end.
type Verdict string

// The two verdicts.
const (
	Welcome Verdict = "Welcome to our service."
	Refused Verdict = "User authorization failed."
)

var (
	// ErrInput is in errors for which no server was asked.
	ErrInput = errors.New("invalid input")
	// ErrConflict ends a login over UDP.
	ErrConflict = errors.New("the replies cannot all be those of one server: somebody may be forging its address")
)

// All limits of the protocol, in bytes, and of the client.
const (
	nameMax     = 64
	passwordMax = 128
	replyMax    = 30

	firstWait   = 250 * time.Millisecond
	longestWait = time.Second
	listenMin   = 2 * time.Millisecond
	listenMax   = 100 * time.Millisecond

	challengesMax        = 32
	challengesPerRequest = 2
	renewalsMax          = 5
)

var challengeReply = regexp.MustCompile(`^(New challenge )?([0-9a-f]{16})$`)

// Login asks a server, HOST:PORT, for its verdict on a user. The network is "udp" or "tcp".
func Login(network, server, name, password string, timeout time.Duration) (Verdict, error) {
	host, port, err := net.SplitHostPort(server)
	if err != nil {
		return "", fmt.Errorf("%w: %v", ErrInput, err)
	}
	if !isName(name) || !isPassword(password) {
		return "", fmt.Errorf("%w: the name or the password is empty or too long, or has a forbidden character", ErrInput)
	}
	end := time.Now().Add(timeout)
	ctx, cancel := context.WithDeadline(context.Background(), end)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupHost(ctx, host)
	if err == nil && len(addresses) == 0 {
		err = errors.New("the host has no address")
	}
	for i, address := range addresses {
		var verdict Verdict
		share := time.Until(end) / time.Duration(len(addresses)-i)
		verdict, err = loginAt(network, net.JoinHostPort(address, port), name, password, share)
		if err == nil || errors.Is(err, ErrConflict) {
			return verdict, err
		}
	}
	return "", err
}

func isName(name string) bool {
	isForbidden := func(char rune) bool { return char == ':' || unicode.IsControl(char) }
	return name != "" && len(name) <= nameMax && utf8.ValidString(name) &&
		strings.TrimSpace(name) == name && strings.IndexFunc(name, isForbidden) < 0
}

func isPassword(password string) bool {
	return password != "" && len(password) <= passwordMax &&
		utf8.ValidString(password) && !strings.Contains(password, "\x00")
}

// login is a login at one address.
type login struct {
	name, password   string
	message          string          // what is sent until it has a reply
	requests, sends  int             // how often the request was sent, and the present message
	issued, answered map[string]bool // challenges
	verdict          Verdict         // empty while there is none
	start, end       time.Time
	heard            time.Time // when the verdict came; zero while none counts
}

func loginAt(network, address, name, password string, timeout time.Duration) (Verdict, error) {
	start := time.Now()
	server, err := net.DialTimeout(network, address, timeout)
	if err != nil {
		return "", err
	}
	defer server.Close()
	it := login{
		name: name, password: password, message: "Authentication Request",
		issued: map[string]bool{}, answered: map[string]bool{},
		start: start, end: start.Add(timeout),
	}
	if datagrams, ok := server.(*net.UDPConn); ok {
		return it.overUDP(datagrams)
	}
	return it.overTCP(server)
}

func (it *login) overTCP(server net.Conn) (Verdict, error) {
	if err := server.SetDeadline(it.end); err != nil {
		return "", err
	}
	var reply string
	for it.verdict == "" {
		if it.sends == 0 {
			if err := it.send(server); err != nil {
				return "", err
			}
			reply = ""
		}
		room := make([]byte, replyMax+1)
		received, err := server.Read(room)
		if err != nil {
			return "", err
		}
		reply += string(room[:received])
		if len(reply) > replyMax {
			return "", errors.New("the server speaks another protocol")
		}
		if err := it.take(reply); err != nil {
			return "", err
		}
	}
	return it.verdict, nil
}

func (it *login) overUDP(server *net.UDPConn) (Verdict, error) {
	random := rand.New(rand.NewSource(time.Now().UnixNano()))
	address := unmapped(server.RemoteAddr().(*net.UDPAddr).AddrPort())
	room := make([]byte, replyMax+1) // so that what is longer is not cut to a message
	var due time.Time
	var wait time.Duration
	for {
		now := time.Now()
		switch {
		case !it.heard.IsZero():
			// It only listens, for a reply that contradicts the verdict.
			if due = it.listenUntil(); !now.Before(due) {
				return it.verdict, nil
			}
		case !now.Before(it.end):
			return "", os.ErrDeadlineExceeded
		case it.sends == 0 || !now.Before(due):
			if wait = wait * 3 / 2; it.sends == 0 {
				wait = firstWait
			} else if wait > longestWait {
				wait = longestWait
			}
			due = now.Add(wait*9/10 + time.Duration(random.Int63n(int64(wait/5))))
			if err := it.send(server); err != nil {
				return "", err
			}
		}
		if due.After(it.end) {
			due = it.end
		}
		if err := server.SetReadDeadline(due); err != nil {
			return "", err
		}
		received, source, err := server.ReadFromUDPAddrPort(room)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			continue
		case err != nil:
			return "", err
		case unmapped(source) != address:
			continue // It came before the socket was connected.
		}
		if err := it.take(string(room[:received])); err != nil {
			return "", err
		}
	}
}

func unmapped(address netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(address.Addr().Unmap(), address.Port())
}

func (it *login) send(server io.Writer) error {
	if len(it.answered) == 0 {
		it.requests++
	}
	it.sends++
	_, err := io.WriteString(server, it.message)
	return err
}

// take takes a reply. What is none is ignored.
func (it *login) take(reply string) error {
	isVerdict := reply == string(Welcome) || reply == string(Refused)
	if found := challengeReply.FindStringSubmatch(reply); found != nil {
		return it.takeChallenge(found[2], found[1] != "")
	}
	if !isVerdict || len(it.answered) == 0 {
		return nil
	}
	if it.verdict != "" && it.verdict != Verdict(reply) {
		return ErrConflict
	}
	it.verdict = Verdict(reply)
	if it.heard.IsZero() {
		it.heard = time.Now()
	}
	return nil
}

func (it *login) takeChallenge(challenge string, isRenewal bool) error {
	if !isRenewal {
		it.issued[challenge] = true
		if len(it.issued) > challengesMax || len(it.issued) > challengesPerRequest*it.requests {
			return ErrConflict
		}
	}
	answered := len(it.answered)
	if isRenewal != (answered > 0) || it.answered[challenge] {
		return nil
	}
	// One server does not give a verdict and a new challenge for one answer.
	if answered > renewalsMax || !it.heard.IsZero() && it.sends == 1 && answered == 1 {
		return ErrConflict
	}
	it.answered[challenge] = true
	it.message = fmt.Sprintf("%s:%x:%s", it.name, md5.Sum([]byte(it.name+it.password+challenge)), challenge)
	it.sends, it.heard = 0, time.Time{}
	return nil
}

// listenUntil is after as long as the verdict has taken, within limits: a server that is as near has replied by then.
func (it *login) listenUntil() time.Time {
	listen := it.heard.Sub(it.start)
	if listen > listenMax {
		listen = listenMax
	}
	if listen < listenMin {
		listen = listenMin
	}
	// One of two challenges may be forged.
	if len(it.issued) > 1 && listen < firstWait {
		listen = firstWait
	}
	return it.heard.Add(listen)
}
