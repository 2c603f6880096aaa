//! However a test process ends, nothing that it started is left. The victim is this test binary itself, run again
//! with a variable that makes it start a part and wait for its end.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use harness::guard::scratch;
use harness::process::Process;
use harness::wait::wait_for;

use crate::SOON;

/// What the victim does after it has started its part.
const VICTIM: &str = "TOWLINE_SELFTEST_VICTIM";

/// Not a test of its own: what the others run.
#[test]
fn victim() {
    let Ok(end) = std::env::var(VICTIM) else { return };
    let log = scratch("victim").join("log");
    let mut command = Command::new("sh");
    // A child of the part, too: it would survive if only the part were killed.
    command.args(["-c", "sleep 1000 & echo $! $$ >&2; wait"]);
    let part = Process::spawn("part", &command, &log).unwrap();
    let ids = loop {
        let text = part.log();
        if text.ends_with('\n') {
            break text;
        }
        std::thread::yield_now();
    };
    println!("\nPARTS {} {}", ids.trim(), log.display());
    match end.as_str() {
        "panic" => panic!("as the test wants it"),
        "abort" => std::process::abort(),
        "exit" => std::process::exit(3),
        _ => {
            // Until it is killed, or its parent is gone.
            let _ = std::io::stdin().read(&mut [0]);
        }
    }
}

/// The victim, the ids of its part and the part's child, and a file in its scratch folder.
fn start_victim(end: &str) -> (Child, Vec<u32>, PathBuf) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "leaks::victim", "--nocapture", "--test-threads=1"])
        .env(VICTIM, end)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let line = output.lines().map_while(Result::ok).find(|line| line.starts_with("PARTS ")).unwrap();
    let words: Vec<&str> = line.split(' ').skip(1).collect();
    (child, words[..2].iter().map(|id| id.parse().unwrap()).collect(), PathBuf::from(words[2]))
}

/// Whether a process exists and is more than a zombie that waits for its parent.
fn runs(id: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{id}/stat")) else { return false };
    !stat.rsplit(") ").next().is_some_and(|state| state.starts_with('Z'))
}

async fn assert_gone(end: &str, ids: &[u32], file: &Path) {
    wait_for(&format!("nothing runs after {end}"), SOON, || !ids.iter().any(|id| runs(*id))).await.unwrap();
    let scratch = file.ancestors().nth(2).unwrap();
    wait_for(&format!("no file is left after {end}"), SOON, || !scratch.exists()).await.unwrap();
}

#[tokio::test]
async fn a_killed_test_process_leaves_nothing() {
    let (mut child, ids, file) = start_victim("wait");
    assert!(ids.iter().all(|id| runs(*id)) && file.exists());
    child.kill().unwrap();
    child.wait().unwrap();
    assert_gone("SIGKILL", &ids, &file).await;
}

#[tokio::test]
async fn a_failed_test_process_leaves_nothing() {
    for end in ["panic", "abort", "exit"] {
        let (mut child, ids, file) = start_victim(end);
        child.wait().unwrap();
        assert_gone(end, &ids, &file).await;
    }
}

#[tokio::test]
async fn a_dropped_part_is_gone_at_once() {
    let log = scratch("part").join("log");
    let part = Process::spawn("part", Command::new("sleep").arg("1000"), &log).unwrap();
    let id = part.pid();
    assert!(runs(id));
    drop(part);
    assert!(!runs(id));
}
