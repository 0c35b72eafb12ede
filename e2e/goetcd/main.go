// Goetcd starts one member of a current etcd, embedded from its Go module, as a second reference for the differential
// fuzzer beside the older one that distributions ship. It prints one line of JSON when it serves, in the form of
// `quorate up --json`, and stops on SIGINT, SIGTERM or when its standard input closes (with -stdin).
//
// What is left out: more than one member, TLS, and every setting that the comparison does not need.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"go.etcd.io/etcd/api/v3/version"
	"go.etcd.io/etcd/server/v3/embed"
)

type node struct {
	ID   int    `json:"id"`
	PID  int    `json:"pid"`
	Etcd string `json:"etcd"`
	Peer string `json:"peer"`
	Data string `json:"data"`
}

type ready struct {
	Ready   bool   `json:"ready"`
	Version string `json:"version"`
	Nodes   []node `json:"nodes"`
}

func main() {
	data := flag.String("data", "", "data directory, which must be empty or from an earlier start")
	client := flag.String("client", "http://127.0.0.1:2379", "URL for clients")
	peer := flag.String("peer", "http://127.0.0.1:2380", "URL for peers")
	stdin := flag.Bool("stdin", false, "stop when standard input closes")
	flag.Parse()
	if err := run(*data, *client, *peer, *stdin); err != nil {
		fmt.Fprintln(os.Stderr, "goetcd:", err)
		os.Exit(1)
	}
}

func run(data, client, peer string, stdin bool) error {
	if data == "" {
		return fmt.Errorf("-data DIR is needed")
	}
	clientURL, err := url.Parse(client)
	if err != nil {
		return err
	}
	peerURL, err := url.Parse(peer)
	if err != nil {
		return err
	}
	config := embed.NewConfig()
	config.Dir = data
	config.LogLevel = "error"
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{*clientURL}, []url.URL{*clientURL}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{*peerURL}, []url.URL{*peerURL}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	etcd, err := embed.StartEtcd(config)
	if err != nil {
		return err
	}
	defer etcd.Close()
	select {
	case <-etcd.Server.ReadyNotify():
	case err := <-etcd.Err():
		return err
	case <-time.After(30 * time.Second):
		return fmt.Errorf("not ready after 30 s")
	}
	line, err := json.Marshal(ready{true, version.Version, []node{{1, os.Getpid(), client, peer, data}}})
	if err != nil {
		return err
	}
	fmt.Println(string(line))

	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	closed := make(chan struct{})
	if stdin {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			close(closed)
		}()
	}
	select {
	case <-stop:
	case <-closed:
	case err := <-etcd.Err():
		return err
	}
	return nil
}
