//! Finding sessions of ours again at a provider: the scan of its list, the evidence of a prompt, and what adapters whose
//! prompts can be read share.

pub(super) mod marker;
pub(super) mod prompts;
pub(super) mod scan;
pub(super) mod similarity;
