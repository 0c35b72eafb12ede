//! When a request may be sent again. Pure: code and text in, decision out.
//!
//! A read may always be sent again while the reason is a passing one. A write may be sent again only where the node says
//! that nothing was done; after a time-out, a leader change or a lost connection it may have happened, and sending it
//! again could do it twice. That is the caller's to decide, who knows whether twice is harmful.

use std::time::Duration;
use tonic::Code;

/// What a request does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// It changes nothing.
    Read,
    /// It may change something.
    Write,
}

/// What to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// The error is the outcome.
    GiveUp,
    /// Send it again, on the next connection.
    TryAgainAfter(Duration),
}

/// The most tries of one request.
pub const TRIES_MAX: u32 = 8;

/// Decides after the `tries`-th failure.
pub fn decide(kind: Kind, code: Code, text: &str, tries: u32) -> Decision {
    if tries >= TRIES_MAX || code != Code::Unavailable {
        return Decision::GiveUp;
    }
    // With no leader nothing is proposed; without a connection nothing was sent.
    let nothing_done = text == "etcdserver: no leader" || text.contains("tcp connect error");
    if kind == Kind::Read || nothing_done {
        return Decision::TryAgainAfter(Duration::from_millis(25 << tries.min(5)));
    }
    Decision::GiveUp
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_in_doubt_is_never_sent_again() {
        for text in ["etcdserver: request timed out", "etcdserver: leader changed", "transport error", ""] {
            assert_eq!(decide(Kind::Write, Code::Unavailable, text, 1), Decision::GiveUp, "{text}");
            assert_ne!(decide(Kind::Read, Code::Unavailable, text, 1), Decision::GiveUp, "{text}");
        }
        assert_ne!(decide(Kind::Write, Code::Unavailable, "etcdserver: no leader", 1), Decision::GiveUp);
        assert_eq!(decide(Kind::Read, Code::InvalidArgument, "", 1), Decision::GiveUp);
        assert_eq!(decide(Kind::Read, Code::Unavailable, "", TRIES_MAX), Decision::GiveUp);
    }
}
