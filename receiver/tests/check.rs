//! `towline-receiver --check`, the real binary: what a person sees of a good configuration, a risky one and a wrong one.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, secret) in [("one", "hunter2-one"), ("two", "hunter2-two"), ("empty", "")] {
            folder.write(name, secret);
        }
        folder
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn certificate(&self, year: i32) {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 2);
        self.write("tls.crt", &params.self_signed(&key).unwrap().pem());
        self.write("tls.key", &key.serialize_pem());
    }

    /// Exit code, stdout and stderr, with this folder as `$DIR`.
    fn check(&self, name: &str, text: &str) -> (Option<i32>, String, String) {
        self.check_with(name, text, &[])
    }

    fn check_with(&self, name: &str, text: &str, variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
        let dir = self.0.path().display().to_string();
        self.write(name, &text.replace("$DIR", &dir));
        let mut command = Command::new(env!("CARGO_BIN_EXE_towline-receiver"));
        command.env_clear().envs(variables.iter().copied()).arg("--check").arg("--config").arg(self.path(name));
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(&dir, "$DIR");
        let (out, err) = (text(output.stdout), text(output.stderr));
        assert!(!out.contains("hunter2") && !err.contains("hunter2"), "a secret was shown: {out}{err}");
        (output.status.code(), out, err)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(Path::new(name))
    }

    /// The lines of the mistakes.
    fn mistakes(&self, text: &str) -> String {
        let (code, out, err) = self.check("receiver.toml", text);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
        err.lines().filter_map(|line| line.strip_prefix("  ")).collect::<Vec<_>>().join("\n")
    }
}

const TOP: &str = "listen = \"127.0.0.1:8443\"\nadmin = \"127.0.0.1:9090\"\n[nats]\nurl = \"nats://nats:4222\"\n";
const HOOK: &str =
    "[[hooks]]\npath = \"/hooks/github\"\nprovider = \"github\"\nhost = \"github.com\"\nsecrets = [\"$DIR/one\"]\n";

#[test]
fn a_good_one_is_told_in_words() {
    let folder = Folder::new();
    folder.certificate(2199);
    let tls = "[tls]\ncert = \"$DIR/tls.crt\"\nkey = \"$DIR/tls.key\"\n";
    let second = HOOK.replace("/hooks/github", "/hooks/more").replace("\"$DIR/one\"", "\"$DIR/two\"");
    let text = format!("{TOP}{tls}{HOOK}repositories = [\"org/*\", \"other/app\"]\n{second}prefix = \"mirror\"\n");
    let (code, out, err) = folder.check("receiver.toml", &text);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    insta::assert_snapshot!(out);
}

#[test]
fn what_is_risky_is_a_warning_and_what_cannot_work_a_problem() {
    let folder = Folder::new();
    fs::set_permissions(folder.path("one"), fs::Permissions::from_mode(0o644)).unwrap();
    let second = HOOK.replace("/hooks/github", "/hooks/more");
    let (code, out, err) = folder.check("a.toml", &format!("{}{HOOK}{second}", TOP.replace("admin", "#")));
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    insta::assert_snapshot!(out);

    folder.certificate(1999);
    let tls = "[tls]\ncert = \"$DIR/tls.crt\"\nkey = \"$DIR/tls.key\"\n";
    let (code, out, err) = folder.check("b.toml", &format!("{TOP}{tls}{HOOK}"));
    assert_eq!(code, Some(1), "{out}");
    assert!(
        out.contains("problem: tls.cert ($DIR/tls.crt): ended at 1999-01-02T00:00:00Z, clients refuse it"),
        "{out}"
    );
    assert!(err.starts_with("error: "), "{err}");
}

#[test]
fn each_mistake_says_where_it_is_and_what_to_do() {
    let folder = Folder::new();
    folder.certificate(2199);
    let key = rcgen::KeyPair::generate().unwrap();
    folder.write("other.key", &key.serialize_pem());
    let hook = |from: &str, to: &str| format!("{TOP}{}", HOOK.replace(from, to));
    let cases = [
        ("a secret in the place of its file", hook("$DIR/one", "hunter2")),
        ("a relative path", hook("$DIR/one", "one")),
        ("an empty secret", hook("$DIR/one", "$DIR/empty")),
        ("a folder", hook("$DIR/one", "$DIR")),
        ("the same file twice", hook("\"$DIR/one\"", "\"$DIR/one\", \"$DIR/one\"")),
        ("no secrets", hook("\"$DIR/one\"", "")),
        ("a text for a list", hook("[\"$DIR/one\"]", "\"$DIR/one\"")),
        ("a host with scheme", hook("\"github.com\"", "\"https://github.com/org\"")),
        ("a host with user", hook("\"github.com\"", "\"git@github.com\"")),
        ("a host that is none", hook("\"github.com\"", "\"git hub\"")),
        ("no organisation", hook("\"github\"\nhost = \"github.com\"", "\"azure-devops\"\nhost = \"dev.azure.com\"")),
        ("an unknown provider", hook("\"github\"", "\"githib\"")),
        ("a glob with the host", format!("{TOP}{HOOK}repositories = [\"github.com/org/*\"]\n")),
        ("an empty list of globs", format!("{TOP}{HOOK}repositories = []\n")),
        ("the same path twice", format!("{TOP}{HOOK}{}", HOOK.replace("one", "two"))),
        ("an unknown key of a hook", format!("{TOP}{HOOK}secret = \"x\"\n")),
        ("an unknown key at the top", format!("lisen = 1\n{TOP}{HOOK}")),
        ("no hooks", TOP.to_owned()),
        ("no nats", format!("listen = \"127.0.0.1:1\"\n{HOOK}")),
        ("one address for both", format!("{}{HOOK}", TOP.replace("127.0.0.1:9090", "0.0.0.0:8443"))),
        ("a port alone", format!("{}{HOOK}", TOP.replace("127.0.0.1:8443", ":8443"))),
        ("a user in the address", format!("{}{HOOK}", TOP.replace("nats://", "nats://me:hunter2@"))),
        ("no .creds file", format!("{TOP}credentials = \"$DIR/one\"\n{HOOK}")),
        ("a seed that is none", format!("{TOP}nkey = \"$DIR/one\"\n{HOOK}")),
        ("two ways", format!("{TOP}nkey = \"$DIR/one\"\nuser = \"me\"\npassword = \"$DIR/one\"\n{HOOK}")),
        ("a foreign key", format!("{TOP}[tls]\ncert = \"$DIR/tls.crt\"\nkey = \"$DIR/other.key\"\n{HOOK}")),
        ("an overlap without end", format!("{TOP}[limits]\nsecret_overlap_ms = 86400000\n{HOOK}")),
    ];
    let told: Vec<String> = cases.iter().map(|(what, text)| format!("{what}\n{}", folder.mistakes(text))).collect();
    insta::assert_snapshot!(told.join("\n\n"));
}

#[test]
fn a_file_that_is_called_wrongly_or_is_not_there() {
    let folder = Folder::new();
    let (code, _, err) = folder.check("receiver.toml", "listen: 127.0.0.1:0\nnats: {url: \"nats://a\"}\n");
    assert_eq!(
        (code, err.trim_end()),
        (Some(1), "error: failed to parse configuration file $DIR/receiver.toml: it is YAML: call it .yaml")
    );
    let (code, _, err) = folder.check("receiver.yaml", &format!("{TOP}{HOOK}"));
    assert_eq!(
        (code, err.trim_end()),
        (Some(1), "error: failed to parse configuration file $DIR/receiver.yaml: it is TOML: call it .toml")
    );
    let variables = [("TOWLINE__NATS__URL", "https://a"), ("TOWLINE__NAST__URL", "x")];
    let (code, _, err) = folder.check_with("receiver.toml", &format!("{TOP}{HOOK}"), &variables);
    assert!(code == Some(1) && err.contains("nast: unknown key, did you mean `nats`?"), "{err}");
}
