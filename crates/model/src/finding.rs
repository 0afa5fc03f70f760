//! [`Finding`]: one thing a rule has to say, with its evidence and what to do about it.

use serde::{Deserialize, Serialize};

/// Why memory is where it is. The wire names are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(
    missing_docs,
    reason = "each name is a label of the field; `Cause::meaning` says it in a sentence"
)]
pub enum Cause {
    ExternalFragmentation,
    AllocatorRetained,
    NonAllocatorOverhead,
    PeakPast,
    SmallInstanceFalseAlarm,
    Swapped,
    MaxmemoryReachedDataset,
    MaxmemoryReachedOverhead,
    EvictionCannotFree,
    CowForkSpike,
    KernelOomOrCgroupLimit,
    DefragUnsupportedBuild,
    DefragMisconfigured,
    DefragBugOrUndefraggableData,
    LuaScriptsMemory,
    ModuleMemory,
    MemoryLeakBug,
    BigExpiresOrDictOverhead,
    StreamOrPelGrowth,
    BuffersOverhead,
    DatasetGrowth,
    RssBelowUsedBenign,
    OomNotFromThisInstance,
    MetricAccountingBug,
    Healthy,
}

impl Cause {
    /// The cause in a clause that reads after "because".
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::ExternalFragmentation => {
                "live data is spread thinly over pages that are mostly empty"
            }
            Self::AllocatorRetained => "the allocator keeps freed pages in RAM for reuse",
            Self::NonAllocatorOverhead => "pages outside the allocator are resident",
            Self::PeakPast => "an earlier, larger peak left its pages behind",
            Self::SmallInstanceFalseAlarm => {
                "the ratio of two small numbers is large, and nothing is wrong"
            }
            Self::Swapped => "part of the process is in swap",
            Self::MaxmemoryReachedDataset => "the data has reached maxmemory",
            Self::MaxmemoryReachedOverhead => {
                "buffers and other overhead have reached maxmemory, not data"
            }
            Self::EvictionCannotFree => "eviction runs but cannot free what is needed",
            Self::CowForkSpike => "a fork child makes the pages written meanwhile exist twice",
            Self::KernelOomOrCgroupLimit => {
                "the host's or container's limit is near, not Redis's own"
            }
            Self::DefragUnsupportedBuild => {
                "this build's allocator can neither show nor move fragmented memory"
            }
            Self::DefragMisconfigured => {
                "active defrag is on but its settings keep it from helping"
            }
            Self::DefragBugOrUndefraggableData => "active defrag runs without effect",
            Self::LuaScriptsMemory => "the script engine holds the memory",
            Self::ModuleMemory => "a module holds the memory",
            Self::MemoryLeakBug => "live memory is explained neither by keys nor by known overhead",
            Self::BigExpiresOrDictOverhead => {
                "the tables that index keys hold the memory, not the values"
            }
            Self::StreamOrPelGrowth => "streams or their pending lists grow",
            Self::BuffersOverhead => "client or replica buffers hold the memory",
            Self::DatasetGrowth => "the data itself is this large",
            Self::RssBelowUsedBenign => "memory was allocated but never touched",
            Self::OomNotFromThisInstance => {
                "this server is far from its limit: the OOM reply came from another"
            }
            Self::MetricAccountingBug => "a figure that is reported cannot be true",
            Self::Healthy => "nothing is wrong",
        }
    }
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; nothing to do.
    Info,
    /// Worth watching: no harm yet.
    Watch,
    /// Act in working hours.
    Act,
    /// Act now.
    Urgent,
}

/// A figure a finding rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// What was read: `allocator_frag_bytes`, `active - allocated`.
    pub what: String,
    /// Its value, for people.
    pub value: String,
    /// Where it was read: `INFO memory`, `MALLOC-STATS`, `CONFIG`, `procfs`, `arithmetic`.
    pub source: String,
}

impl Evidence {
    /// An evidence line.
    pub fn new(
        what: impl Into<String>,
        value: impl Into<String>,
        source: impl Into<String>,
    ) -> Self {
        Self { what: what.into(), value: value.into(), source: source.into() }
    }
}

/// Kinds of remedy, by the gentlest first. The wire names are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each name is a label of the field")]
pub enum RemedyKind {
    NoneNeeded,
    MemoryPurge,
    Activedefrag,
    TuneDefragThresholds,
    Repack,
    RestartOrFailover,
    DisableThp,
    RaiseMaxmemory,
    LowerMaxmemory,
    SetMaxmemory,
    ChangeEvictionPolicy,
    AddTtl,
    LimitClientBuffers,
    FixClient,
    ResizeBacklog,
    Upgrade,
    RebuildWithJemalloc,
    FixSwap,
    HostMemory,
    ReduceData,
    ReduceValueSize,
    ScriptFlush,
    ParameterizeScripts,
    ReportToModule,
    Reshard,
    ScheduleBgsave,
    CheckOtherNodes,
    SetPersistence,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remedy {
    /// What kind of thing it is.
    pub kind: RemedyKind,
    /// What to type, complete, or what to do where there is nothing to type.
    pub next: String,
}

impl Remedy {
    /// A remedy.
    pub fn new(kind: RemedyKind, next: impl Into<String>) -> Self {
        Self { kind, next: next.into() }
    }
}

/// What one rule has to say about one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The rule: `retained-pages`. Stable; `unfrag explain ID` prints its page.
    pub id: &'static str,
    /// The cause it stands for.
    pub cause: Cause,
    /// How much it matters.
    pub severity: Severity,
    /// Bytes it accounts for; `None` when it is not about bytes or they are unknown.
    pub bytes: Option<u64>,
    /// One sentence, in bytes where it can.
    pub title: String,
    /// What that means for the reader.
    pub meaning: String,
    /// The figures it rests on.
    pub evidence: Vec<Evidence>,
    /// What to do, gentlest first.
    pub remedies: Vec<Remedy>,
    /// What is commonly believed instead, and what is true; empty when no folklore touches it.
    pub folklore: String,
}

impl Finding {
    /// A finding without evidence, remedies or id; the registry of rules fills the id in.
    pub fn new(cause: Cause, severity: Severity, title: impl Into<String>) -> Self {
        Self {
            id: "",
            cause,
            severity,
            bytes: None,
            title: title.into(),
            meaning: String::new(),
            evidence: vec![],
            remedies: vec![],
            folklore: String::new(),
        }
    }

    /// With the bytes it accounts for.
    #[must_use]
    pub fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = Some(bytes);
        self
    }

    /// With what it means for the reader.
    #[must_use]
    pub fn meaning(mut self, text: impl Into<String>) -> Self {
        self.meaning = text.into();
        self
    }

    /// With one more figure.
    #[must_use]
    pub fn evidence(mut self, evidence: impl Into<Option<Evidence>>) -> Self {
        self.evidence.extend(evidence.into());
        self
    }

    /// With one more remedy.
    #[must_use]
    pub fn remedy(mut self, kind: RemedyKind, next: impl Into<String>) -> Self {
        self.remedies.push(Remedy::new(kind, next));
        self
    }

    /// With what is commonly believed instead.
    #[must_use]
    pub fn folklore(mut self, text: impl Into<String>) -> Self {
        self.folklore = text.into();
        self
    }
}
