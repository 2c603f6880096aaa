//! A configuration is read whole, and everything wrong with it is said at once.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};

use towline_daemon::config::ConfigError;
use towline_receiver::config::{self, Config};
use towline_receiver::limits::Limits;
use towline_receiver::{Provider, Secret};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write("github", "a secret\n");
        folder.write("gitlab", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD\n");
        folder.write("empty", "\n");
        folder.write("token", "ghp_0123456789\n");
        folder
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn load(&self, text: &str) -> Result<Config, ConfigError> {
        let text = text.replace("$DIR", &self.0.path().display().to_string());
        config::load(Some(&self.write("receiver.toml", &text)))
    }

    fn mistakes(&self, text: &str) -> Vec<String> {
        let Err(ConfigError::Mistakes(mistakes)) = self.load(text) else { panic!("no mistakes") };
        mistakes
            .iter()
            .map(|mistake| mistake.to_string().replace(&self.0.path().display().to_string(), "$DIR"))
            .collect()
    }
}

const GOOD: &str = r#"
listen = "127.0.0.1:0"
admin = "127.0.0.1:0"
[nats]
url = "nats://127.0.0.1:4222"
[[hooks]]
path = "/hooks/github"
provider = "github"
host = "github.com"
secrets = ["$DIR/github", "$DIR/gitlab"]
repositories = ["org/*"]
[[hooks]]
path = "/hooks/gitlab"
provider = "gitlab"
host = "gitlab.com"
secrets = ["$DIR/gitlab"]
"#;

#[test]
fn a_good_one_with_defaults() {
    let config = Folder::new().load(GOOD).unwrap();
    assert_eq!(config.hooks().len(), 2);
    let hook = &config.hooks()[0];
    assert_eq!((hook.path(), hook.provider(), hook.host()), ("/hooks/github", Provider::Github, "github.com"));
    assert_eq!(hook.secrets().good().len(), 2);
    assert!(hook.allows("org/app") && !hook.allows("other/app"));
    assert_eq!(config.limits(), Limits::default());
    assert!(config.tls().is_none());
}

/// What a glob allows is the repository that agents listen for, whatever name it is given.
#[test]
fn the_allow_list_looks_at_the_identity() {
    let allows = |host: &str, prefix: &str, glob: &str, name: &str| {
        let prefix = if prefix.is_empty() { String::new() } else { format!("prefix = \"{prefix}\"\n") };
        let text =
            GOOD.replace("host = \"github.com\"", &format!("host = \"{host}\"\n{prefix}")).replace("org/*", glob);
        Folder::new().load(&text).unwrap().hooks()[0].allows(name)
    };
    for (host, prefix, glob, name) in [
        ("git.example", "", "org/app", "org/app.git"),
        ("git.example", "", "org/app", "Org//App"),
        ("git.example", "", "victim/*", "scm/victim/app"),
        ("git.example", "git", "git/*", "git/app"),
        ("dev.azure.com", "Fabrikam", "My Project/*", "My Project/app"),
        ("dev.azure.com", "fabrikam/DefaultCollection", "project/*", "project/app"),
        ("fabrikam.visualstudio.com", "", "project/*", "project/app"),
        ("azure.example", "tfs/DefaultCollection", "project/*", "project/app"),
        ("tools.example", "bitbucket/scm", "proj/*", "PROJ/app"),
    ] {
        assert!(allows(host, prefix, glob, name), "{glob} at {host}/{prefix}: {name}");
    }
    for (host, prefix, glob, name) in [
        ("git.example", "", "scm/**", "scm/victim/app"),
        ("git.example", "", "projects/**", "projects/victim/repos/app"),
        ("git.example", "", "org/*/*", "org//app"),
        ("git.example", "", "org/*", "org/group/app"),
        ("git.example", "", "**", "../app"),
        ("dev.azure.com", "fabrikam", "fabrikam/*", "project/app"),
    ] {
        assert!(!allows(host, prefix, glob, name), "{glob} at {host}/{prefix}: {name}");
    }
}

#[test]
fn all_mistakes_at_once() {
    let text = r#"
listen = "everywhere"
proxies = ["10.0.0.0/8", "10.0.0.1/8", "proxy"]
senders = ["192.30.252.0/22", "192.30.252.1/22", "::/0", "::ffff:0.0.0.0/96", "github.com"]
[tls]
cert = "$DIR/github"
key = "$DIR/none"
[nats]
url = "https://nats"
[limits]
connections_max = 0
body_bytes_max = 1000
bodies_bytes_max = 10
[[hooks]]
path = "hooks"
provider = "github"
host = "git hub"
secrets = ["$DIR/none", "$DIR/empty"]
repositories = ["https://github.com/org/app"]
[[hooks]]
path = "hooks"
provider = "gitlab"
host = "gitlab.com"
"#;
    insta::assert_snapshot!(Folder::new().mistakes(text).join("\n"));
}

#[test]
fn limits_that_contradict_each_other() {
    let with = |limits: &str| GOOD.replace("[nats]", &format!("[limits]\n{limits}\n[nats]"));
    let text = with(
        "connections_max = 10\nconnections_per_address_max = 20\nheader_bytes_max = 100\nheaders_max = 100000\n\
         body_bytes_max = 1000\nbodies_bytes_max = 1500\nbodies_bytes_per_address_max = 2000\nbody_timeout_ms = 20000\n\
         body_grace_ms = 30000\nidle_timeout_ms = 1000000000000",
    );
    insta::assert_snapshot!(Folder::new().mistakes(&text).join("\n"));
    // What is not written gives way.
    let limits = Folder::new()
        .load(&with("connections_max = 10\nbodies_bytes_max = 30000000\nbody_timeout_ms = 1000"))
        .unwrap()
        .limits();
    assert_eq!((limits.connections_per_address_max, limits.bodies_bytes_per_address_max), (10, 30_000_000));
    assert_eq!(limits.body_grace, limits.body_timeout);
}

/// The largest a file can say, for every number there is: a mistake that names the bound, and no panic at the start.
#[test]
fn no_number_is_too_large_to_be_told_so() {
    let known = include_str!("../src/limits.rs");
    let known = known.split_once("struct RawLimits {").unwrap().1.split_once("\n}").unwrap().0;
    let keys: Vec<&str> = known.lines().filter_map(|line| line.trim().strip_suffix(": Option<u64>,")).collect();
    assert!(keys.len() > 25, "{keys:?}");
    let limits: String = keys.iter().map(|key| format!("{key} = {}\n", i64::MAX)).collect();
    let mistakes = Folder::new().mistakes(&GOOD.replace("[nats]", &format!("[limits]\n{limits}[nats]")));
    for key in keys {
        let said = mistakes.iter().find(|mistake| mistake.starts_with(&format!("limits.{key}: must be ")));
        assert!(said.is_some_and(|said| said.contains(char::is_numeric)), "{key}: {mistakes:#?}");
    }
}

#[test]
fn unknown_keys_and_providers_name_the_nearest() {
    let text = GOOD.replace("host = \"gitlab.com\"", "host = \"gitlab.com\"\nsecret = \"x\"");
    assert_eq!(Folder::new().mistakes(&text), ["hooks[1].secret: unknown key, did you mean `secrets`?"]);
    let text = GOOD.replace("\"gitlab\"", "\"gitlap\"");
    assert_eq!(Folder::new().mistakes(&text), ["hooks[1].provider: unknown value `gitlap`, did you mean `gitlab`?"]);
}

#[test]
fn a_signing_key_that_is_none_is_a_mistake_without_the_key() {
    let folder = Folder::new();
    folder.write("gitlab", "whsec_hunter2!!");
    let mistakes = folder.mistakes(&GOOD.replace("[\"$DIR/github\", \"$DIR/gitlab\"]", "[\"$DIR/github\"]"));
    assert_eq!(
        mistakes,
        ["hooks[1].secrets[0] ($DIR/gitlab): the secret starts with whsec_ and is not a base64 key after it"]
    );
    assert!(Secret::read(Provider::Github, Path::new(&folder.0.path().join("gitlab"))).is_ok());
}

const SWEEP: &str = r#"
[[sweeps]]
hook = "/hooks/github"
repository = "org/app"
id = 12345678901
token = "$DIR/token"
"#;

#[test]
fn a_sweep_with_defaults_and_one_of_an_organisation_on_an_enterprise_server() {
    let config = Folder::new().load(&format!("{GOOD}{SWEEP}")).unwrap();
    let hooks: Vec<_> = config.sweeps().iter().map(|sweep| (sweep.hook(), sweep.api())).collect();
    assert_eq!(hooks, [("/hooks/github", "https://api.github.com")]);
    let text = GOOD.replace("github.com", "git.example") + SWEEP;
    let text = text
        .replace("repository = \"org/app\"\nid = 12345678901", "organisation = \"org\"\nurl = \"https://h.example\"");
    let config = Folder::new().load(&text).unwrap();
    assert_eq!(config.sweeps()[0].api(), "https://git.example/api/v3");
}

#[test]
fn all_mistakes_of_sweeps_at_once() {
    let text = r#"
[[sweeps]]
hook = "/hooks/none"
token = "$DIR/none"
api = "http://git.example/api/v3"
ca = "$DIR/github"
interval_ms = 0
lookback_ms = 259200001
[[sweeps]]
hook = "/hooks/gitlab"
repository = "org"
id = 1
url = "https://hooks.example/hooks/github"
token = "$DIR/empty"
attempts_max = 0
[[sweeps]]
hook = "/hooks/github"
repository = "other/app"
organisation = "../x"
id = 1
token = "$DIR/token"
[[sweeps]]
hook = "/hooks/github"
repository = "other/app"
id = 1
token = "$DIR/token"
[[sweeps]]
hook = "/hooks/github"
repository = "../.."
id = 1
token = "$DIR/token"
[[sweeps]]
hook = "/hooks/github"
organisation = "org/app?"
id = 1
token = "$DIR/token"
"#;
    insta::assert_snapshot!(Folder::new().mistakes(&format!("{GOOD}{text}")).join("\n"));
    let text = format!("{GOOD}{SWEEP}").replace("token =", "organization = \"org\"\ntoken =");
    assert_eq!(Folder::new().mistakes(&text), ["sweeps[0].organization: unknown key, did you mean `organisation`?"]);
}
