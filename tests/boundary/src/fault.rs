//! What can go wrong at a boundary, and at which boundary that makes sense.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::boundary::{Boundary, Side, Verb};
use crate::provider::UnderTest;

/// What goes wrong at one boundary: once, or from there on for a while.
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
    /// The call arrives, and nobody ever answers it nor closes the connection.
    NeverAnswered,
    /// The call takes effect at once and is answered late: after the operator was told of the effect and has decided anew.
    LateAnswer,
    /// From this list on, a provider's lists are answered with a web page and 404 for a while, and everything else is as before.
    ListError,
    /// A list says that there is another page, and that page cannot be read.
    PageError,
    /// A list names another page that the provider then does not know.
    PageToken,
    /// From this call on renewals of the Lease hang until after the deadline, and are answered then.
    SlowLease,
    /// The same twice, with a renewal in time between.
    LeadFlickers,
    /// From this call on a provider refuses stops for a while, and says why.
    StopRefused,
    /// A stop is accepted, and has no effect.
    StopIgnored,
    /// A launch arrives, its answer is lost, and the provider gives prompts back without HTML comments.
    EchoStripped,
    /// A launch arrives, its answer is lost, and the provider gives only the beginning of prompts back.
    EchoCut,
    /// A launch arrives, its answer is lost, and the provider gives prompts back with HTML escapes, as they are rendered.
    EchoRendered,
    /// A launch arrives, its answer is lost, and the provider's clock is twenty minutes ahead.
    ProviderAhead,
    /// A launch arrives, its answer is lost, and the provider's clock is twenty minutes behind.
    ProviderBehind,
    /// The API server's clock is twenty minutes ahead.
    ServerAhead,
    /// The API server's clock is twenty minutes behind.
    ServerBehind,
    /// From this write on the API server refuses writes of its kind for a while, because of a policy.
    Policy,
    /// The call arrives, and a web page with 200 is the answer.
    WebPage,
    /// From this call on something between here and the provider refuses everything for a while, with a web page and 403.
    Firewall,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 28] = [
        Self::DropBefore,
        Self::CrashBefore,
        Self::CrashAfter,
        Self::TimeoutAfter,
        Self::ErrorAfter,
        Self::Conflict,
        Self::RateLimited,
        Self::StaleList,
        Self::WatchCut,
        Self::NeverAnswered,
        Self::LateAnswer,
        Self::ListError,
        Self::PageError,
        Self::PageToken,
        Self::SlowLease,
        Self::LeadFlickers,
        Self::StopRefused,
        Self::StopIgnored,
        Self::EchoStripped,
        Self::EchoCut,
        Self::EchoRendered,
        Self::ProviderAhead,
        Self::ProviderBehind,
        Self::ServerAhead,
        Self::ServerBehind,
        Self::Policy,
        Self::WebPage,
        Self::Firewall,
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
            Self::NeverAnswered => "never-answered",
            Self::LateAnswer => "late-answer",
            Self::ListError => "list-error",
            Self::PageError => "page-error",
            Self::PageToken => "page-token",
            Self::SlowLease => "slow-lease",
            Self::LeadFlickers => "lead-flickers",
            Self::StopRefused => "stop-refused",
            Self::StopIgnored => "stop-ignored",
            Self::EchoStripped => "echo-stripped",
            Self::EchoCut => "echo-cut",
            Self::EchoRendered => "echo-rendered",
            Self::ProviderAhead => "provider-ahead",
            Self::ProviderBehind => "provider-behind",
            Self::ServerAhead => "server-ahead",
            Self::ServerBehind => "server-behind",
            Self::Policy => "policy",
            Self::WebPage => "web-page",
            Self::Firewall => "firewall",
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
    /// | never-answered, late-answer | × | × | | | × | × |
    /// | list-error | | | | | list | |
    /// | page-error, page-token | | | | | list in pages | |
    /// | slow-lease, lead-flickers | | × | | of sessions | | × |
    /// | stop-refused, stop-ignored | | | | | | stop |
    /// | echo-…, provider-… | | | | | | launch |
    /// | server-… | first list of sessions | | | | | |
    /// | policy | | × | | | | |
    /// | web-page, firewall | | | | | × | × |
    ///
    /// An event is no call, so nothing can be answered to it. A read changes nothing, so that a crash after it is a crash before it. A
    /// watch that is never answered is the API server's time limit of minutes. A clock is wrong in a whole run.
    pub fn applies(self, boundary: &Boundary, provider: &UnderTest) -> bool {
        let call = &boundary.call;
        let (side, verb) = (call.side(), call.verb);
        let provider_list = || verb == Verb::Get && provider.lists.contains(&call.target.as_str());
        match self {
            Self::CrashBefore => true,
            Self::DropBefore | Self::ErrorAfter | Self::RateLimited => verb != Verb::Event,
            Self::TimeoutAfter | Self::NeverAnswered | Self::LateAnswer => {
                !matches!(verb, Verb::Event | Verb::Watch)
            }
            Self::CrashAfter | Self::Conflict => verb.is_write(),
            Self::StaleList => match (side, verb) {
                (Side::Api, verb) => matches!(verb, Verb::List | Verb::Event),
                (Side::Provider, Verb::Get) => provider_list(),
                (Side::Provider, _) => provider.is_launch(call),
            },
            Self::WatchCut => matches!(verb, Verb::Event | Verb::Watch),
            Self::ListError => provider_list(),
            Self::PageError | Self::PageToken => provider.pages && provider_list(),
            Self::SlowLease | Self::LeadFlickers => {
                verb.is_write() || (verb == Verb::Event && call.target == "codesessions")
            }
            Self::StopRefused => provider.is_stop(call),
            Self::StopIgnored => provider.shows_stops && provider.is_stop(call),
            Self::EchoStripped | Self::EchoCut | Self::EchoRendered => {
                provider.echoes && provider.is_launch(call)
            }
            Self::ProviderAhead | Self::ProviderBehind => provider.is_launch(call),
            Self::ServerAhead | Self::ServerBehind => {
                verb == Verb::List && call.target == "codesessions" && boundary.number == 1
            }
            Self::Policy => side == Side::Api && verb.is_write(),
            Self::WebPage | Self::Firewall => side == Side::Provider,
        }
    }

    /// Whether the operator takes part in an election while this goes on; it would only slow down the others, as one that crashed holds the
    /// Lease until its end.
    pub fn needs_election(self) -> bool {
        matches!(self, Self::SlowLease | Self::LeadFlickers)
    }

    /// Whether an operator may have to leave a session running at the provider because of this, if it says so. Where it knows all that it
    /// needs and everything answers, it has no excuse.
    pub fn excuses_a_lost_session(self) -> bool {
        !matches!(
            self,
            Self::LateAnswer
                | Self::SlowLease
                | Self::ServerAhead
                | Self::ServerBehind
                | Self::ProviderAhead
                | Self::ProviderBehind
        )
    }

    /// Whether what the provider gives back does not tell whose a session is, so that a lost launch may stay unknown. Where comments are
    /// stripped the line under the marker tells it, and what is escaped can be read.
    pub fn hides_whose_it_is(self) -> bool {
        self == Self::EchoCut
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
