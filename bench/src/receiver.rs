//! How many deliveries a receiver verifies, publishes and has acknowledged, how long each takes, and what that costs, beside
//! two floors: the bare HTTP handler under the same load, and publishing alone.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use harness::config::{Hook, ReceiverConfig};
use harness::failure::Doing as _;
use harness::nats::Nats;
use harness::process::Process;
use harness::towline::Daemon;
use harness::{Failure, guard, wait_until};
use jiff::Timestamp;
use towline_receiver::{Provider, Secret};

use crate::Size;
use crate::floor::{self, LISTENING};
use crate::load::{self, Target};
use crate::process::{Cost, cost};
use crate::report::{Finding, Report, Row};
use crate::sample::Round;

const SECRET: &str = "only for measuring";
const PATH: &str = "/hooks/github";
const READY: Duration = Duration::from_secs(30);

/// All load comes from one address, to one hook, faster than anybody means it: what is measured is the work, not the limits.
const LIMITS: &str = "[limits]\nrequests_per_connection_max = 1000000\naddress_requests_per_second = 1000000\nrequests_per_second = 1000000\n\
     deliveries_per_second = 1000000\n";

/// What is said of the receiver is said of this load.
const CONNECTIONS: usize = 64;
const BODY_BYTES: usize = 10 * 1024;

struct Plan {
    rounds: usize,
    requests: usize,
    /// With one connection: how long a delivery takes that has the receiver for itself.
    requests_alone: usize,
}

impl Plan {
    fn of(size: Size) -> Self {
        match size {
            Size::Quick => Self { rounds: 1, requests: 2_000, requests_alone: 100 },
            Size::Normal => Self { rounds: 5, requests: 40_000, requests_alone: 2_000 },
            Size::Full => Self { rounds: 9, requests: 100_000, requests_alone: 5_000 },
        }
    }
}

struct Parts {
    nats: Nats,
    receiver: Daemon,
    receiver_at: SocketAddr,
    floor_at: SocketAddr,
    _floor: Process,
    secret: Secret,
}

pub(crate) async fn measure(size: Size) -> Result<Report, Failure> {
    let plan = Plan::of(size);
    let mut parts = Parts::start().await?;
    let pid = parts.receiver.process().map_or(0, |process| process.pid());
    let (mut floor_http, mut floor_publish) = (Vec::new(), Vec::new());
    let (mut measured, mut alone, mut spent) = (Vec::new(), Vec::new(), Duration::ZERO);
    for round in 0..plan.rounds {
        eprintln!("receiver: round {} of {}", round + 1, plan.rounds);
        floor_http.push(parts.post(parts.floor_at, CONNECTIONS, plan.requests).await?);
        floor_publish.push(floor::publish(&parts.nats, plan.requests, CONNECTIONS).await?);
        let before = cost(pid);
        measured.push(parts.post(parts.receiver_at, CONNECTIONS, plan.requests).await?);
        spent += cost(pid).cpu_since(&before);
        alone.push(parts.post(parts.receiver_at, 1, plan.requests_alone).await?);
    }
    let peak = cost(pid).peak_resident_mib;
    let cost = Cost { cpu_seconds: spent.as_secs_f64(), peak_resident_mib: peak };
    let row = |what: &str, rounds: Vec<Round>, cost| Row { what: what.to_owned(), rounds, cost };
    let rows = vec![
        row("floor: bare HTTP handler, 64 connections", floor_http, None),
        row("floor: publish and acknowledge, 64 at once", floor_publish, None),
        row("receiver, 64 connections, 10 KiB", measured, Some(cost)),
        row("receiver, 1 connection, 10 KiB", alone, None),
    ];
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let findings = findings(&rows, peak);
    Ok(Report { scenario: "receiver", at: Timestamp::now(), cores, rows, findings })
}

fn findings(rows: &[Row], peak_mib: f64) -> Vec<Finding> {
    let [http, publish, receiver, alone] = rows else { return Vec::new() };
    let floor = http.per_second().median.min(publish.per_second().median);
    let ratio = receiver.per_second().median / floor;
    vec![
        Finding { what: "deliveries per second, of the slower floor", value: ratio, unit: "×", aim: "at least 0.5" },
        Finding { what: "p99 under that load", value: receiver.p99_ms().median, unit: "ms", aim: "below 20" },
        Finding { what: "one delivery alone, median", value: alone.p50_ms().median, unit: "ms", aim: "below 1" },
        Finding { what: "peak resident memory", value: peak_mib, unit: "MiB", aim: "below 64" },
    ]
}

impl Parts {
    async fn start() -> Result<Self, Failure> {
        let nats = Nats::start_with_streams().await?;
        let hooks = vec![Hook::new("github", "git.test", SECRET)];
        let access = nats.access("receiver");
        let config = ReceiverConfig { extra_tables: LIMITS.to_owned(), ..ReceiverConfig::new(access, hooks) };
        let mut receiver = Daemon::receiver(&config).await?;
        let receiver_at = receiver.address("public").await?;
        let ready =
            |line: &serde_json::Value| line["fields"]["check"] == "stream" && line["fields"]["message"] == "ready";
        receiver.wait_for_log("it is ready", READY, ready).await?;
        let (floor, floor_at) = http_floor().await?;
        let secret = Secret::parse(Provider::Github, SECRET.as_bytes()).doing(|| "make a secret".to_owned())?;
        Ok(Self { nats, receiver, receiver_at, floor_at, _floor: floor, secret })
    }

    async fn post(&self, address: SocketAddr, connections: usize, requests: usize) -> Result<Round, Failure> {
        let requests = load::deliveries(PATH, &self.secret, requests, BODY_BYTES);
        load::post_all(Target { address, connections }, requests).await
    }
}

async fn http_floor() -> Result<(Process, SocketAddr), Failure> {
    let doing = || "start the bare HTTP handler".to_owned();
    let mut command = Command::new(std::env::current_exe().doing(doing)?);
    command.arg("http-floor");
    let process = Process::spawn("http-floor", &command, &guard::scratch("http-floor").join("log"))?;
    let address = wait_until("the bare HTTP handler listens", READY, async || {
        let log = process.log();
        let said = log.lines().find_map(|line| line.strip_prefix(LISTENING)).map(str::to_owned);
        said.and_then(|text| text.parse().ok()).ok_or(log)
    })
    .await?;
    Ok((process, address))
}
