//! What can go wrong at a boundary, and at which boundary that makes sense.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::boundary::{Boundary, Side, Verb};
use crate::provider::UnderTest;

/// What goes wrong at one boundary, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Fault {
    /// The connection is closed and the call never arrives.
    DropBefore,
    /// The operator dies before the call arrives, and is started again. At an event: before it is told.
    CrashBefore,
    /// The call arrives, the operator dies before it sees the answer, and is started again.
    CrashAfter,
    /// The call arrives and is never answered: the operator gives up, or else whatever is in between closes the connection.
    TimeoutAfter,
    /// The call arrives and is answered with an error 5xx.
    ErrorAfter,
    /// The call is refused with 409 Conflict.
    Conflict,
    /// The call is refused with 429 Too Many Requests and `Retry-After`.
    RateLimited,
    /// A list shows what was before anything of this run existed. At an event of a watch: the watch has expired (410), and the list that
    /// follows is old. At a launch: it arrives, its answer is lost, and the provider's lists do not show it for a while.
    StaleList,
    /// The watch ends; at an event: before it is told.
    WatchCut,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 9] = [
        Self::DropBefore,
        Self::CrashBefore,
        Self::CrashAfter,
        Self::TimeoutAfter,
        Self::ErrorAfter,
        Self::Conflict,
        Self::RateLimited,
        Self::StaleList,
        Self::WatchCut,
    ];

    /// Its name in tables and on command lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DropBefore => "drop-before",
            Self::CrashBefore => "crash-before",
            Self::CrashAfter => "crash-after",
            Self::TimeoutAfter => "timeout-after",
            Self::ErrorAfter => "5xx-after",
            Self::Conflict => "409",
            Self::RateLimited => "429",
            Self::StaleList => "stale-list",
            Self::WatchCut => "watch-cut",
        }
    }

    /// Whether this fault makes sense at this boundary: the table of the matrix.
    ///
    /// | | read, list | write | watch | event | provider's read | provider's write |
    /// |---|---|---|---|---|---|---|
    /// | drop-before | × | × | × | | × | × |
    /// | crash-before | × | × | × | × | × | × |
    /// | crash-after | | × | | | | × |
    /// | timeout-after | × | × | | | × | × |
    /// | 5xx-after | × | × | × | | × | × |
    /// | 409 | | × | | | | × |
    /// | 429 | × | × | × | | × | × |
    /// | stale-list | list | | | × | list | launch |
    /// | watch-cut | | | × | × | | |
    ///
    /// An event is no call, so nothing can be answered to it. A read changes nothing, so that a crash after it is a crash before it. A
    /// watch that is never answered is the API server's time limit of minutes.
    pub fn applies(self, boundary: &Boundary, provider: &UnderTest) -> bool {
        let call = &boundary.call;
        match (self, call.verb) {
            (Self::CrashBefore, _) => true,
            (Self::DropBefore | Self::ErrorAfter | Self::RateLimited, verb) => verb != Verb::Event,
            (Self::TimeoutAfter, verb) => !matches!(verb, Verb::Event | Verb::Watch),
            (Self::CrashAfter | Self::Conflict, verb) => verb.is_write(),
            (Self::StaleList, verb) => match (call.side(), verb) {
                (Side::Api, verb) => matches!(verb, Verb::List | Verb::Event),
                (Side::Provider, Verb::Get) => provider.lists.contains(&call.target.as_str()),
                (Side::Provider, _) => provider.is_launch(call),
            },
            (Self::WatchCut, verb) => matches!(verb, Verb::Event | Verb::Watch),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// No fault has this name.
#[derive(Debug, thiserror::Error)]
#[error("there is no fault {name:?}; there are: {}", known().join(", "))]
pub struct NoFault {
    name: String,
}

fn known() -> Vec<&'static str> {
    Fault::ALL.map(Fault::as_str).to_vec()
}

impl FromStr for Fault {
    type Err = NoFault;

    fn from_str(name: &str) -> Result<Self, NoFault> {
        let found = Self::ALL.into_iter().find(|fault| fault.as_str() == name);
        found.ok_or_else(|| NoFault {
            name: name.to_owned(),
        })
    }
}

impl TryFrom<String> for Fault {
    type Error = NoFault;

    fn try_from(name: String) -> Result<Self, NoFault> {
        name.parse()
    }
}

impl From<Fault> for String {
    fn from(fault: Fault) -> Self {
        fault.as_str().to_owned()
    }
}
