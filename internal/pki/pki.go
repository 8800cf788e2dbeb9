// Package pki makes and loads a group's certificates: one authority per group,
// made by init, and one certificate per member. TLS is 1.3, mutual, without
// session tickets, and every handshake checks that the certificate is of this
// group. Which member it is, is proven once more by the peer hello.
package pki

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/understudy-ha/understudy/chain"
	"github.com/understudy-ha/understudy/internal/durable"
)

// Files in a member's TLS directory; the last two only where clients come from
// other machines.
const (
	CAFile      = "ca.pem"
	CertFile    = "member.pem"
	KeyFile     = "member.key"
	APICertFile = "api.pem"
	APIKeyFile  = "api.key"
)

// validity of the authority and of certificates.
const validity = 10 * 365 * 24 * time.Hour

// CA is a group's certificate authority. Its key is needed only to issue.
type CA struct {
	cert *x509.Certificate
	der  []byte
	key  ed25519.PrivateKey
}

func memberURI(group string, o chain.Origin, member string) *url.URL {
	return &url.URL{Scheme: "understudy", Host: group, Path: "/" + o.String() + "/" + member}
}

// NewCA makes a group's authority.
func NewCA(group string, now time.Time) (*CA, error) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "understudy group " + group},
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.Add(validity),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, pub, key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &CA{cert, der, key}, err
}

// Issue writes a member's TLS directory: the authority's certificate, the
// member's own, and its key. They are durable when it returns: nobody can issue
// them again.
func (ca *CA) Issue(dir durable.FS, group string, o chain.Origin, member string, now time.Time) error {
	if err := dir.MkdirAll("."); err != nil {
		return err
	}
	if err := ca.WriteCertificate(dir); err != nil {
		return err
	}
	t := &x509.Certificate{
		Subject: pkix.Name{CommonName: member}, URIs: []*url.URL{memberURI(group, o, member)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	return ca.issue(dir, t, CertFile, KeyFile, now)
}

// IssueServer writes a certificate and key by which clients of the API know a
// host, which is a name or an address. It is no member's certificate.
func (ca *CA) IssueServer(dir durable.FS, host string, now time.Time) error {
	t := &x509.Certificate{Subject: pkix.Name{CommonName: host}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	if ip := net.ParseIP(host); ip != nil {
		t.IPAddresses = []net.IP{ip}
	} else {
		t.DNSNames = []string{host}
	}
	return ca.issue(dir, t, APICertFile, APIKeyFile, now)
}

// WriteCertificate writes the authority's certificate.
func (ca *CA) WriteCertificate(dir durable.FS) error {
	return writePEM(dir, CAFile, "CERTIFICATE", ca.der)
}

func writePEM(dir durable.FS, name, what string, der []byte) error {
	return dir.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: what, Bytes: der}))
}

func (ca *CA) issue(dir durable.FS, t *x509.Certificate, certFile, keyFile string, now time.Time) error {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	if t.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return err
	}
	t.NotBefore, t.NotAfter, t.KeyUsage = now.Add(-24*time.Hour), now.Add(validity), x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, t, ca.cert, pub, ca.key)
	if err != nil {
		return err
	}
	pk, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := writePEM(dir, certFile, "CERTIFICATE", der); err != nil {
		return err
	}
	return writePEM(dir, keyFile, "PRIVATE KEY", pk)
}

// Member is what a member needs to prove itself and to check the others.
type Member struct {
	cert  tls.Certificate
	roots *x509.CertPool
}

// ErrPermissions: a private key can be read by others.
var ErrPermissions = errors.New("private key is readable by others")

// CheckPrivate refuses a file that others than its owner may read.
func CheckPrivate(path string) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	if st.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%w: %s has mode %04o: run chmod 600 on it", ErrPermissions, path, st.Mode().Perm())
	}
	return nil
}

// LoadMember reads a member's TLS directory.
func LoadMember(dir string) (*Member, error) {
	key := filepath.Join(dir, KeyFile)
	if err := CheckPrivate(key); err != nil {
		return nil, err
	}
	certFile, caFile := filepath.Join(dir, CertFile), filepath.Join(dir, CAFile)
	cert, err := tls.LoadX509KeyPair(certFile, key)
	if err != nil {
		return nil, fmt.Errorf("%s with %s: %w: restore them from where init wrote them", certFile, key, err)
	}
	ca, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("%s holds no certificate: restore it from where init wrote it", caFile)
	}
	return &Member{cert, roots}, nil
}

// Config is for one side of a connection within the group. want is the member
// that is dialled; empty accepts any member of the group.
func (m *Member) Config(group string, o chain.Origin, want string, protos []string) *tls.Config {
	verify := func(cs tls.ConnectionState) error {
		if len(cs.PeerCertificates) == 0 {
			return errors.New("no certificate was shown")
		}
		leaf := cs.PeerCertificates[0]
		// Names play no part in the group's certificates: the chain is checked
		// here for both sides, and who it is by the URI.
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: m.roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
			return err
		}
		prefix := memberURI(group, o, want).String()
		for _, u := range leaf.URIs {
			if s := u.String(); s == prefix || want == "" && len(s) > len(prefix) && s[:len(prefix)] == prefix {
				return nil
			}
		}
		return fmt.Errorf("the certificate of %q is not one of group %q for this connection", leaf.Subject.CommonName, group)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{m.cert}, NextProtos: protos,
		ClientAuth: tls.RequireAnyClientCert, InsecureSkipVerify: true, // VerifyConnection does all of it
		VerifyConnection: verify, SessionTicketsDisabled: true,
	}
}
