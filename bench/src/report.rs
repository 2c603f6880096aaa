//! Rows of figures to a table for people and to JSON for programs.

use std::fs;
use std::path::{Path, PathBuf};

use harness::Failure;
use harness::failure::Doing as _;
use jiff::Timestamp;
use serde::Serialize;

use crate::process::Cost;
use crate::sample::{Round, Spread};

/// Everything one scenario measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) scenario: &'static str,
    pub(crate) at: Timestamp,
    pub(crate) cores: usize,
    pub(crate) rows: Vec<Row>,
    /// What the rows come to, in words and numbers.
    pub(crate) findings: Vec<Finding>,
}

/// One thing under one load, in several rounds.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) rounds: Vec<Round>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cost: Option<Cost>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) what: &'static str,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    /// What is to be reached, in words.
    pub(crate) aim: &'static str,
}

impl Row {
    pub(crate) fn per_second(&self) -> Spread {
        Spread::of(self.rounds.iter().map(|round| round.per_second))
    }

    pub(crate) fn p50_ms(&self) -> Spread {
        Spread::of(self.rounds.iter().map(|round| round.p50_ms))
    }

    pub(crate) fn p99_ms(&self) -> Spread {
        Spread::of(self.rounds.iter().map(|round| round.p99_ms))
    }
}

impl Report {
    pub(crate) fn table(&self) -> String {
        let mut text = format!("\n{} · {} cores\n\n", self.scenario, self.cores);
        text += &format!(
            "{:<44} {:>7} {:>26} {:>9} {:>9} {:>8} {:>8}\n",
            "", "rounds", "per second min/median/max", "p50 ms", "p99 ms", "cpu s", "MiB"
        );
        for row in &self.rows {
            let rate = row.per_second();
            text += &format!(
                "{:<44} {:>7} {:>8.0} {:>8.0} {:>8.0} {:>9.2} {:>9.2}",
                row.what,
                row.rounds.len(),
                rate.min,
                rate.median,
                rate.max,
                row.p50_ms().median,
                row.p99_ms().median,
            );
            if let Some(cost) = row.cost {
                text += &format!(" {:>8.1} {:>8.1}", cost.cpu_seconds, cost.peak_resident_mib);
            }
            text.push('\n');
        }
        text.push('\n');
        for finding in &self.findings {
            text += &format!("{:<60} {:>9.2} {:<8} aim: {}\n", finding.what, finding.value, finding.unit, finding.aim);
        }
        text
    }

    /// Writes `<folder>/<scenario>.json`.
    pub(crate) fn write(&self, folder: &Path) -> Result<PathBuf, Failure> {
        let path = folder.join(format!("{}.json", self.scenario));
        let doing = || format!("write {}", path.display());
        fs::create_dir_all(folder).doing(doing)?;
        fs::write(&path, serde_json::to_vec_pretty(self).doing(doing)?).doing(doing)?;
        Ok(path)
    }
}
