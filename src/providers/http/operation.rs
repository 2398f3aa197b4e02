//! What a provider is asked for: decides how much of an answer is read, and labels metrics.

/// What is being asked of a provider; the label value of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Whose key it is.
    Verify,
    /// Which models there are.
    Models,
    /// The paid call that starts a session.
    Launch,
    /// The paid call that sends it a message.
    Message,
    /// One look at one session or run.
    Get,
    /// One page of a list.
    List,
    /// The messages of a session.
    Conversation,
    /// What a session's agent does.
    Timeline,
    /// What a session's agent left.
    Artifacts,
    /// The machine that it works on.
    Preview,
    /// What a session cost.
    Usage,
    /// A stop.
    Cancel,
    /// Putting an ended session away.
    Archive,
    /// Anything about the templates of an account.
    Templates,
    /// The issue that a session works on.
    Issue,
}

impl Operation {
    /// The largest body of an answer that is read, in bytes.
    pub fn largest_answer(self) -> usize {
        match self {
            Self::Verify | Self::Cancel | Self::Archive => 64 << 10,
            Self::Models
            | Self::Launch
            | Self::Message
            | Self::Get
            | Self::Preview
            | Self::Usage
            | Self::Issue => 1 << 20,
            Self::List
            | Self::Conversation
            | Self::Templates
            | Self::Timeline
            | Self::Artifacts => 4 << 20,
        }
    }

    /// The label value of metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Models => "models",
            Self::Launch => "launch",
            Self::Message => "message",
            Self::Get => "get",
            Self::List => "list",
            Self::Conversation => "conversation",
            Self::Timeline => "timeline",
            Self::Artifacts => "artifacts",
            Self::Preview => "preview",
            Self::Usage => "usage",
            Self::Cancel => "cancel",
            Self::Archive => "archive",
            Self::Templates => "templates",
            Self::Issue => "issue",
        }
    }
}
