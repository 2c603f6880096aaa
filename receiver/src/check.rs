//! What `--check` tells a person about a configuration that was read without mistakes: what is in it, what is better
//! changed, what will not work. Pure but for the permissions of files; opens no connection and no port. Shows names and
//! paths, never what is in a file.

use std::fmt::{self, Write as _};

use jiff::{SignedDuration, Timestamp};
use towline_daemon::nats;

use crate::config::{Config, Hook};
use crate::reload::EXPIRY_WARNING;
use crate::secrets::is_readable_by_everybody;

/// The report: its text, and whether the receiver can do its work with this.
#[derive(Debug)]
pub struct Report {
    facts: String,
    warnings: Vec<String>,
    problems: Vec<String>,
}

impl Report {
    /// Looks at everything. `config` was read, so its files could be.
    pub fn new(config: &Config, now: Timestamp) -> Self {
        let mut report = Self { facts: String::new(), warnings: Vec::new(), problems: Vec::new() };
        report.ports(config, now);
        report.fact("nats", format!("{}, {}", config.nats().shown_url(), way(config.nats())));
        for (index, hook) in config.hooks().iter().enumerate() {
            report.hook(index, hook);
        }
        report.shared_secrets(config.hooks());
        for sweep in config.sweeps() {
            report.fact("sweep", format!("of the deliveries to {}", sweep.hook()));
        }
        report
    }

    /// Whether nothing stands in the way.
    pub fn is_good(&self) -> bool {
        self.problems.is_empty()
    }

    fn fact(&mut self, what: &str, text: impl fmt::Display) {
        let _infallible = writeln!(self.facts, "  {what:<7} {text}");
    }

    fn ports(&mut self, config: &Config, now: Timestamp) {
        let tls = if config.tls().is_some() { "TLS" } else { "plain HTTP: something in front of it has to do TLS" };
        self.fact("listen", format!("{}, {tls}", config.listen()));
        match config.admin() {
            Some(address) => self.fact("admin", address),
            None => self.warnings.push("admin: is not set, so there is no /readyz and there are no metrics".to_owned()),
        }
        let Some(tls) = config.tls() else { return };
        let file = tls.paths().first().map(|path| path.display().to_string()).unwrap_or_default();
        let Some(end) = tls.not_after() else {
            return self.warnings.push(format!("tls.cert ({file}): its end cannot be read"));
        };
        self.fact("tls", format!("{file}, good until {end}"));
        let left = end.duration_since(now);
        if left <= SignedDuration::ZERO {
            self.problems.push(format!("tls.cert ({file}): ended at {end}, clients refuse it"));
        } else if left <= EXPIRY_WARNING {
            self.warnings.push(format!("tls.cert ({file}): ends soon, at {end}"));
        }
    }

    fn hook(&mut self, index: usize, hook: &Hook) {
        let secrets = hook.secrets().paths();
        let count = if secrets.len() == 1 { "1 secret".to_owned() } else { format!("{} secrets", secrets.len()) };
        let allowed = hook.allowed().texts();
        let allowed = if allowed.is_empty() { "all repositories".to_owned() } else { allowed.join(" ") };
        let prefix = hook.prefix().map(|prefix| format!("/{prefix}")).unwrap_or_default();
        let (path, provider, host) = (hook.path(), hook.provider().name(), hook.host());
        self.fact("hook", format!("{path}: {provider}, {host}{prefix}, {count}, {allowed}"));
        for (number, file) in secrets.iter().enumerate().filter(|(_, file)| is_readable_by_everybody(file)) {
            let file = file.display();
            self.warnings.push(format!(
                "hooks[{index}].secrets[{number}] ({file}): everybody on this machine can read it, chmod o-r"
            ));
        }
    }

    /// Who may send to one of two hooks with the same secret may send to the other.
    fn shared_secrets(&mut self, hooks: &[std::sync::Arc<Hook>]) {
        for (index, hook) in hooks.iter().enumerate() {
            let mine = hook.secrets().good();
            for (other_index, other) in hooks.iter().enumerate().take(index) {
                let theirs = other.secrets().good();
                if mine.iter().any(|secret| theirs.iter().any(|their| their.is_same_as(secret))) {
                    self.warnings.push(format!(
                        "hooks[{index}].secrets: shares a secret with hooks[{other_index}], so who may send to one may \
                         send to the other; give each its own"
                    ));
                }
            }
        }
    }
}

/// How the receiver proves to NATS who it is.
fn way(nats: &nats::Settings) -> String {
    let file = |path: &std::path::Path| path.display().to_string();
    match (&nats.credentials, &nats.nkey, &nats.user, &nats.password) {
        (Some(path), ..) => format!("credentials {}", file(path)),
        (_, Some(path), ..) => format!("nkey {}", file(path)),
        (_, _, Some(user), Some(path)) => format!("user {user}, password {}", file(path)),
        _ => "without credentials".to_owned(),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.facts)?;
        self.warnings.iter().try_for_each(|warning| writeln!(f, "warning: {warning}"))?;
        self.problems.iter().try_for_each(|problem| writeln!(f, "problem: {problem}"))?;
        writeln!(
            f,
            "{}",
            if self.is_good() { "The configuration can be used." } else { "It cannot be used like this." }
        )
    }
}
