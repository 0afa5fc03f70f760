//! [`ChangePermit`]: the token without which nothing in this crate changes a server.
//!
//! It is minted in one place, from an explicit word of the user and the confirmed identity of the server.

/// How the user said that the plan may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// `--yes` on the command line.
    Flag,
    /// Typed at the prompt, with the plan above it.
    Typed,
    /// Asked for on the page of `unfrag watch`, with its token.
    Token,
    /// By a rule of the policy of `unfrag watch`, in its window.
    Policy,
}

/// Permission to change one server process. It cannot be built outside this file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangePermit {
    run_id: String,
    consent: Consent,
}

impl ChangePermit {
    /// A permit for the process whose `run_id` was shown with the plan.
    pub fn mint(consent: Consent, run_id: &str) -> Self {
        Self { run_id: run_id.to_owned(), consent }
    }

    /// The process it is for.
    pub fn run_id(&self) -> &str {
        &self.run_id
    }

    /// How it was given.
    pub fn consent(&self) -> Consent {
        self.consent
    }
}
