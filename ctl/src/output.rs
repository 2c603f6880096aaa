//! The forms of a result: for people, or JSON and YAML for programs. Knows no command.

use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value;

use crate::exit::{Exit, Fails};

/// The form of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListForm {
    Table,
    /// A table with more columns, and nothing cut
    Wide,
    Json,
    Yaml,
}

/// The form of a single outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    Text,
    Json,
    Yaml,
}

/// The form of manifests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ManifestForm {
    Yaml,
    /// One `List` object
    Json,
}

/// Why a result could not be written down.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputError {
    #[error("write the result as JSON")]
    Json(#[source] serde_json::Error),
    #[error("write the result as YAML")]
    Yaml(#[source] serde_saphyr::SerializeError),
}

impl Fails for OutputError {
    fn exit(&self) -> Exit {
        Exit::Failed
    }
}

/// An outcome: its own text for people, all of its fields for programs.
pub(crate) fn outcome(form: Form, text: &str, value: &impl Serialize) -> Result<String, OutputError> {
    match form {
        Form::Text => Ok(text.to_owned()),
        Form::Json => json(value),
        Form::Yaml => yaml(value),
    }
}

pub(crate) fn json(value: &impl Serialize) -> Result<String, OutputError> {
    serde_json::to_string_pretty(value).map(|text| text + "\n").map_err(OutputError::Json)
}

/// YAML that a reader of version 1.1 (kubectl) and one of 1.2 understand alike: what would read as a number, a boolean, a
/// date or null is quoted.
pub(crate) fn yaml(value: &impl Serialize) -> Result<String, OutputError> {
    // Lines are not folded: a folded string looks like several, and diffs badly.
    let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
    serde_saphyr::to_string_with_options(value, options).map_err(OutputError::Yaml)
}

/// Several documents, each with its separator.
pub(crate) fn yaml_documents<'v>(values: impl IntoIterator<Item = &'v Value>) -> Result<String, OutputError> {
    let mut text = String::new();
    for value in values {
        text.push_str("---\n");
        text.push_str(&yaml(value)?);
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    Ok(text)
}

/// What kubectl prints for several objects.
pub(crate) fn list(items: Vec<Value>) -> Value {
    serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": items })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_looks_like_something_else_stays_text() {
        let texts = [
            "1",
            "-1",
            "0x1f",
            "0o17",
            "010",
            "1e3",
            "1_000",
            ".5",
            "1.",
            "12:30:45",
            "true",
            "no",
            "Yes",
            "on",
            "OFF",
            "y",
            "~",
            "null",
            "",
            " ",
            "2024-01-01",
            "2024-01-01T00:00:00Z",
            "=",
            "<<",
            "*a",
            "&a",
            "!a",
            "%a",
            "@a",
            "`a`",
            "#a",
            "a: b",
            "a #b",
            "- a",
            "? a",
            "[a",
            "{a",
            "a\nb",
            "a\nb\n",
            "\n",
            "\ta",
            "a\t",
            "'",
            "\"",
            "\\",
            "ä",
            "\u{85}",
            "\u{2028}",
            "\u{7f}",
            "---",
            "...",
            "0b1",
            "+1",
            ".inf",
            ".NaN",
            "1__0",
            "  indented\nline",
            "trailing \nline",
        ];
        for text in texts {
            let value = json!({ "k": text, "l": [text, {"m": text}] });
            let yaml = yaml(&value).unwrap();
            let options = serde_saphyr::options! { legacy_octal_numbers: true };
            let back: Value = serde_saphyr::from_str_with_options(&yaml, options).unwrap();
            assert_eq!(back, value, "{text:?} became\n{yaml}");
        }
    }

    #[test]
    fn a_long_line_stays_one() {
        let long = "word ".repeat(100);
        assert_eq!(yaml(&json!({ "k": long.trim() })).unwrap().lines().count(), 1);
    }
}
