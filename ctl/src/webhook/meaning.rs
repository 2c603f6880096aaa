//! What a receiver's answers mean to whoever sent the delivery, and what to do about them. Knows statuses only.

/// The receiver's answers in words: section "The receiver" of the design has the table.
pub(crate) fn meaning(status: u16) -> &'static str {
    match status {
        202 => "the commit event is published and stored",
        200 => "verified, and nothing to do: a ping, or not a repository, ref or event this hook acts on",
        400 => "verified, and its content could not be read: was the payload changed on its way?",
        401 => {
            "the signature was not accepted: compare the secret of the sender with the files under this hook's `secrets` in \
             receiver.toml; the hook's provider has to be right, and both clocks"
        }
        404 => "there is no hook at this path: compare it with the `path` of the hooks in receiver.toml",
        405 => "this address does not take deliveries",
        408 => "the body did not arrive in time",
        411 | 413 => "the body's length is missing or too large",
        415 => "the content type is not taken: the webhook has to send application/json, uncompressed",
        429 => "too many requests at once, or too many failed ones from this address: wait, then send it again",
        431 => "the headers are too large",
        503 => "the receiver could not publish it in time (NATS away, or the receiver ends): send it again later",
        300..400 => "a redirect, which Git hosts do not follow: use the final address",
        _ => "not an answer of a Towline receiver: is something in front of it?",
    }
}
