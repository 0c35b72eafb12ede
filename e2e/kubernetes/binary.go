package testserver

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

// startBinary starts `$QUORATE etcd` with a configuration that was meant for a server inside of the test, and gives the URLs of its
// clients. It ends with the test; its log is shown where that has failed.
func startBinary(t testing.TB, cfg *embed.Config) []string {
	t.Helper()
	client, peer := cfg.ListenClientUrls[0].String(), cfg.ListenPeerUrls[0].String()
	log, err := os.Create(filepath.Join(cfg.Dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(os.Getenv("QUORATE"), "etcd",
		"--name", cfg.Name, "--data-dir", filepath.Join(cfg.Dir, "data"),
		"--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
		"--initial-cluster", cfg.InitialCluster,
		"--quota-backend-bytes", fmt.Sprint(cfg.QuotaBackendBytes),
		"--watch-progress-notify-interval", cfg.WatchProgressNotifyInterval.String())
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		_ = command.Wait()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("the server's log:\n%s", text)
		}
		_ = log.Close()
	})
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if reply, err := http.Get(client + "/readyz"); err == nil {
			_ = reply.Body.Close()
			if reply.StatusCode == http.StatusOK {
				return []string{client}
			}
		}
	}
	t.Fatal("the server took too long to start")
	return nil
}
