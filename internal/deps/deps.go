package deps

import (
	_ "github.com/hashicorp/go-hclog"
	_ "github.com/hashicorp/raft"
	_ "github.com/hashicorp/raft-boltdb/v2"
	_ "github.com/rogpeppe/go-internal/testscript"
	_ "github.com/spf13/cobra"
	_ "github.com/spf13/viper"
	_ "github.com/stretchr/testify/require"
	_ "github.com/zeebo/blake3"
	_ "go.etcd.io/bbolt"
	_ "go.uber.org/goleak"
	_ "golang.org/x/crypto/nacl/box"
	_ "golang.org/x/mod/sumdb/note"
	_ "golang.org/x/mod/sumdb/tlog"
	_ "lukechampine.com/blake3"
	_ "github.com/spf13/pflag"
	_ "github.com/go-viper/mapstructure/v2"
	_ "github.com/transparency-dev/merkle/proof"
	_ "github.com/anishathalye/porcupine"
)
