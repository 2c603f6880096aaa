//! What a receiver's answers mean to whoever sent the delivery. Knows statuses only.

/// The receiver's answers in words: section "The receiver" of the design has the table.
pub(crate) fn meaning(status: u16) -> &'static str {
    match status {
        202 => "the commit event is published and stored",
        200 => "verified, and nothing to do: not a repository, ref or event this hook acts on",
        400 => "verified, and its content could not be read",
        401 => "the signature was not accepted: is it this hook's secret, and are both clocks right?",
        404 => "there is no hook at this path",
        405 => "this address does not take deliveries",
        408 => "the body did not arrive in time",
        411 | 413 => "the body's length is missing or too large",
        415 => "the content type is not taken",
        429 => "too many requests",
        431 => "the headers are too large",
        503 => "the receiver could not publish it in time (NATS away, or the receiver ends): send it again later",
        300..400 => "a redirect, which Git hosts do not follow: use the final address",
        _ => "not an answer of a Towline receiver: is something in front of it?",
    }
}
