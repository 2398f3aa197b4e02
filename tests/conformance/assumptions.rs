//! Where the providers' documents are silent or contradict each other: what we assume, and that the adapters hold out either way.
