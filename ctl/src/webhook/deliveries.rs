//! What came of deliveries, for people and for programs. Knows statuses and times; asks nobody.

use serde::Serialize;

use super::api::Delivery;
use super::host::Tested;
use super::meaning::meaning;
use super::shown;
use crate::exit::Failure;
use crate::table;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    id: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    event: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    pub(crate) accepted: bool,
    pub(crate) meaning: String,
}

/// What became of the test delivery; `result` never changes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TestRow {
    result: &'static str,
    meaning: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<Row>,
}

pub(crate) fn row(delivery: &Delivery) -> Row {
    Row {
        id: delivery.id,
        at: delivery.at.map(|at| at.to_string()),
        event: shown::line(&delivery.event),
        status: delivery.status,
        accepted: delivery.is_accepted(),
        meaning: match delivery.status {
            Some(status) => meaning(status).to_owned(),
            None => format!("no answer from the receiver: {}", shown::line(&delivery.said)),
        },
    }
}

pub(crate) fn table(rows: &[Row]) -> String {
    let cell = |text: &Option<String>| text.clone().unwrap_or_default();
    let status = |row: &Row| row.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
    let cells = |row: &Row| vec![cell(&row.at), row.event.clone(), status(row), row.meaning.clone()];
    table::render(&["TIME", "EVENT", "STATUS", "MEANING"], &rows.iter().map(cells).collect::<Vec<_>>())
}

pub(crate) fn test_row(tested: &Tested) -> TestRow {
    let told = |result, meaning: &str| TestRow { result, meaning: meaning.to_owned(), delivery: None };
    match tested {
        Tested::NotOffered => {
            told("not-offered", "the host offers no test for this hook: push something, or use `check`")
        }
        Tested::Unseen => told(
            "unseen",
            "asked for (a repository without commits gets none); the host's API does not show what came of it: see the \
             webhook's own page, or the receiver's log",
        ),
        Tested::NotYet => told("not-yet", "asked for, and not made in time: `check` shows it later"),
        Tested::Refused(why) => told("refused", &format!("the host made none: {why}")),
        Tested::Delivered(delivery) => {
            let row = row(delivery);
            let result = if row.accepted { "accepted" } else { "failed" };
            let status = row.status.map_or_else(String::new, |status| format!("{status}: "));
            TestRow { result, meaning: format!("{status}{}", row.meaning), delivery: Some(row) }
        }
    }
}

/// The hook is there, and its test could not be asked for or looked at.
pub(crate) fn test_failed(failure: &Failure) -> TestRow {
    TestRow { result: "unknown", meaning: failure.to_string(), delivery: None }
}

impl TestRow {
    pub(crate) fn text(&self) -> String {
        format!("test delivery: {}\n", self.meaning)
    }
}
