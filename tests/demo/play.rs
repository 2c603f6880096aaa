//! The open stage: what a person can do with the running parts, and what they say while he does. Ends with Ctrl-C or SIGTERM.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use harness::Failure;
use harness::failure::Doing as _;
use harness::tools::tool;
use harness::towline::{Daemon, binary, field};
use jiff::Timestamp;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use crate::parts::{HOOK_PATH, Parts, REPOSITORY};
use crate::screen::say;

/// How often the logs are looked at: at once, to a person.
const LOOK: Duration = Duration::from_millis(200);

/// Messages of the daemons that tell a person what goes on.
const TELLING: [&str; 8] = [
    "delivery",
    "woken by an event",
    "fetched",
    "applied",
    "pass succeeded",
    "pass failed",
    "pass held",
    "fetch failed; the last good state stays",
];

/// Prints how to play, then what happens, until it is interrupted or a daemon ends.
pub(crate) async fn until_interrupted(parts: &mut Parts) -> Result<(), Failure> {
    let doing = || "listen for signals".to_owned();
    let mut interrupt = signal(SignalKind::interrupt()).doing(doing)?;
    let mut terminate = signal(SignalKind::terminate()).doing(doing)?;
    prepare(parts).await?;
    explain(parts)?;
    let mut told = (parts.receiver.log_lines().len(), parts.agent.log_lines().len());
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            () = tokio::time::sleep(LOOK) => {}
        }
        told = (tell("receiver", &mut parts.receiver, told.0)?, tell("agent", &mut parts.agent, told.1)?);
    }
    say("\nending everything …");
    Ok(())
}

/// A push by hand is delivered by the repository's own hook, and has an author.
async fn prepare(parts: &Parts) -> Result<(), Failure> {
    let hook = format!(
        "#!/bin/sh\nwhile read -r before after ref; do\n    '{}' webhook send --provider github --secret-file '{}' --url '{}' \\\n        \
         --repo {REPOSITORY} --ref \"$ref\" --before \"$before\" --after \"$after\" >/dev/null && echo 'delivered to the receiver'\ndone\n",
        binary("towline")?.display(),
        parts.secret_file.display(),
        parts.hook_url,
    );
    let hooks = parts.git.root().join("fleet.git/hooks");
    let path = hooks.join("post-receive");
    let doing = || format!("write {}", path.display());
    fs::create_dir_all(&hooks).doing(doing)?;
    fs::write(&path, hook).doing(doing)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).doing(doing)?;
    for (key, value) in [("user.name", "You"), ("user.email", "you@towline.dev"), ("commit.gpgsign", "false")] {
        parts.repo.git(&["config", key, value]).await?;
    }
    parts.repo.git(&["branch", "--set-upstream-to=origin/main"]).await.map(drop)
}

fn explain(parts: &Parts) -> Result<(), Failure> {
    let (towline, kubectl) = (binary("towline")?, tool("kubectl")?);
    let (towline, kubectl) = (towline.display(), kubectl.display());
    let work = parts.repo.work().display();
    say("\nEverything stays up until Ctrl-C. In another terminal:\n");
    say(format!("  export KUBECONFIG={}", parts.plane.kubeconfig().display()));
    say(format!("  {towline} get syncs"));
    say(format!("  {kubectl} -n shop get deployments,configmaps"));
    say(format!("  {kubectl} -n shop scale deployment web --replicas=9"));
    say("\nPush something; a hook of the repository sends the signed delivery:\n");
    say(format!("  cd {work}"));
    say("  sed -i s/blue/green/ shop/settings.yaml && git commit -am green && git push");
    say("\nSend a delivery by hand:\n");
    say(format!("  {towline} webhook send --provider github --secret-file {} \\", parts.secret_file.display()));
    say(format!("    --url {} --repo {REPOSITORY} --after \"$(git -C {work} rev-parse HEAD)\"", parts.hook_url));
    say(format!("\nThe API server is at {}, NATS at {},", parts.plane.url(), parts.nats.url()));
    say(format!("the repository at {}, its hook at …{HOOK_PATH}.", parts.git.url("fleet")));
    say(format!("Logs: {} and {}\n", parts.receiver.dir().display(), parts.agent.dir().display()));
    Ok(())
}

/// Prints what a daemon has said since the last look; how much it has said by now.
fn tell(name: &str, daemon: &mut Daemon, told: usize) -> Result<usize, Failure> {
    let lines = daemon.log_lines();
    for line in lines.iter().skip(told) {
        if let Some(text) = text(line) {
            say(format!("  {} {name:<9} {text}", clock(line)));
        }
    }
    if let Some(process) = daemon.process() {
        process.check_runs()?;
    }
    Ok(lines.len())
}

/// A log line as a person reads it; none for what goes on inside.
fn text(line: &Value) -> Option<String> {
    let message = field(line, "message").filter(|message| TELLING.contains(message))?;
    let details = ["delivery", "outcome", "commit", "subject", "object", "action", "done", "error", "message_text"];
    let details = details.iter().filter_map(|name| field(line, name));
    Some(std::iter::once(message).chain(details).collect::<Vec<_>>().join("  "))
}

fn clock(line: &Value) -> String {
    let at = line["timestamp"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
    at.map(|at| at.strftime("%H:%M:%S%.3f").to_string()).unwrap_or_default()
}
