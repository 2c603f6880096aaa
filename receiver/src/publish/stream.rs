//! Whether the stream is there and is the one that is needed. Knows its specification; changes nothing.

use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::{Context, ErrorCode, stream};
use towline_proto::streams;

/// Asks for the stream and says what is wrong with it.
pub(super) async fn check(jetstream: &Context) -> Result<(), String> {
    let wanted = streams::commits();
    match jetstream.get_stream(wanted.name).await {
        Ok(found) => judge_stream(&wanted, &found.cached_info().config),
        Err(error) => Err(match error.kind() {
            GetStreamErrorKind::JetStream(refusal) if refusal.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                format!("stream {} does not exist: `towline fleet init` creates it", wanted.name)
            }
            _ => format!(
                "failed to ask for stream {} (subject $JS.API.STREAM.INFO.{}): {}",
                wanted.name,
                wanted.name,
                towline_daemon::error::chain(&error)
            ),
        }),
    }
}

/// Everything by which the stream at hand is not the one that is needed.
fn judge_stream(wanted: &streams::StreamSpec, found: &stream::Config) -> Result<(), String> {
    let mut missing = Vec::new();
    for subject in wanted.subjects.iter().filter(|subject| !found.subjects.contains(subject)) {
        missing.push(format!("does not take subject {subject}"));
    }
    if found.max_messages_per_subject != wanted.max_msgs_per_subject {
        missing.push(format!(
            "keeps {} messages per subject instead of {}",
            found.max_messages_per_subject, wanted.max_msgs_per_subject
        ));
    }
    if wanted.allow_direct && !found.allow_direct {
        missing.push("does not allow direct get".to_owned());
    }
    if found.duplicate_window != wanted.duplicate_window {
        missing.push(format!(
            "has a deduplication window of {:?} instead of {:?}",
            found.duplicate_window, wanted.duplicate_window
        ));
    }
    if found.no_ack {
        missing.push("does not acknowledge".to_owned());
    }
    if missing.is_empty() { Ok(()) } else { Err(format!("stream {}: it {}", wanted.name, missing.join(", it "))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_judged_by_everything_that_matters() {
        let wanted = streams::commits();
        let good = stream::Config {
            subjects: wanted.subjects.clone(),
            max_messages_per_subject: wanted.max_msgs_per_subject,
            allow_direct: true,
            duplicate_window: wanted.duplicate_window,
            ..stream::Config::default()
        };
        assert_eq!(judge_stream(&wanted, &good), Ok(()));
        let bad = judge_stream(
            &wanted,
            &stream::Config { subjects: vec!["other.>".to_owned()], ..stream::Config::default() },
        );
        let text = bad.unwrap_err();
        for part in ["does not take subject towline.commit.*.*", "messages per subject", "direct get", "deduplication"]
        {
            assert!(text.contains(part), "{text}");
        }
    }
}
