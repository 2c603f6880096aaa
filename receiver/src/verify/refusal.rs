//! Why a delivery is not believed: for the log of whoever runs the receiver, never for the sender. Names headers and the
//! form they must have; cannot hold anything that was sent.

/// Why a delivery is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Git hosts leave the header out, or empty, where the webhook has no secret.
    #[error("the header {0} is missing or empty: has the webhook a secret at the Git host?")]
    Unsigned(&'static str),
    #[error("only the SHA-1 signature x-hub-signature was sent, which is not believed; x-hub-signature-256 is missing")]
    OnlySha1,
    #[error("the header {0} is missing")]
    Missing(&'static str),
    #[error("the header {0} was sent more than once")]
    Repeated(&'static str),
    #[error("the header {header} is not {form}")]
    Malformed { header: &'static str, form: &'static str },
    #[error("the header {0} matches none of the hook's secrets")]
    Wrong(&'static str),
    #[error("the signature is good, and its timestamp is {seconds} seconds away from this clock")]
    OutsideWindow { seconds: i64 },
}

impl Refusal {
    /// A word for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unsigned(_) => "unsigned",
            Self::OnlySha1 => "only_sha1",
            Self::Missing(_) => "missing",
            Self::Repeated(_) => "repeated",
            Self::Malformed { .. } => "malformed",
            Self::Wrong(_) => "wrong",
            Self::OutsideWindow { .. } => "outside_window",
        }
    }
}
