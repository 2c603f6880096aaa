//! The command lines of the control plane. Starts nothing.

use std::path::Path;
use std::process::Command;

use super::ControlPlane;
use crate::ports::Port;

/// A /16: a /24 is full after 250 Services.
const SERVICE_RANGE: &str = "10.96.0.0/16";

pub(super) fn etcd(program: &Path, dir: &Path, [client, peer]: &[Port; 2]) -> Command {
    let (client, peer) = (format!("http://{}", client.address()), format!("http://{}", peer.address()));
    let mut command = Command::new(program);
    command
        .arg("--data-dir")
        .arg(dir.join("etcd"))
        // Nothing here has to survive the machine; a killed process loses nothing without fsync either.
        .arg("--unsafe-no-fsync")
        .args(["--log-level", "warn", "--name", "only"])
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("only={peer}")]);
    command
}

pub(super) fn apiserver(program: &Path, plane: &ControlPlane) -> Command {
    let files = plane.identities.files();
    let mut command = Command::new(program);
    command
        .arg(format!("--etcd-servers=http://{}", plane.etcd_ports[0].address()))
        .arg(format!("--secure-port={}", plane.port.number()))
        .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none"])
        .arg(flag("--tls-cert-file", &files.server_certificate))
        .arg(flag("--tls-private-key-file", &files.server_key))
        .arg(flag("--client-ca-file", &files.authority))
        .arg(flag("--token-auth-file", &files.tokens))
        .arg(flag("--service-account-key-file", &files.account_public_key))
        .arg(flag("--service-account-signing-key-file", &files.account_key))
        .arg("--service-account-issuer=https://kubernetes.default.svc")
        .args(["--authorization-mode=RBAC", "--allow-privileged=true"])
        .arg(format!("--service-cluster-ip-range={SERVICE_RANGE}"));
    if !plane.options.controller_manager {
        // Nobody makes the accounts that it wants to find.
        command.arg("--disable-admission-plugins=ServiceAccount");
    }
    command
}

pub(super) fn controller_manager(program: &Path, plane: &ControlPlane) -> Command {
    let files = plane.identities.files();
    let mut command = Command::new(program);
    command
        .arg(flag("--kubeconfig", &files.kubeconfig))
        .arg(flag("--service-account-private-key-file", &files.account_key))
        .arg(flag("--root-ca-file", &files.authority))
        .args(["--leader-elect=false", "--secure-port=0"])
        // The defaults (20 and 30) make a test wait for the garbage collector's turn.
        .args(["--kube-api-qps=500", "--kube-api-burst=1000"]);
    command
}

fn flag(name: &str, path: &Path) -> String {
    format!("{name}={}", path.display())
}
