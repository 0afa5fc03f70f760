//! Many targets at once, whole deployments at once: [`survey`] and [`sample_all`].
//!
//! Everything is asked side by side. A server that is dead or slow costs its own timeouts and holds up nobody else; its
//! line says what was wrong with it. Results come in the order of the targets, whatever answered first.

use crate::error::ClientError;
use crate::target::{Address, Target};
use crate::topology::{self, Deployment, DiscoverOptions, Mode, Node};
use crate::{ConnectOptions, SampleOptions, connect, sample};
use futures_util::future::join_all;
use std::collections::BTreeSet;
use tokio::sync::Semaphore;
use unfrag_model::Sample;
use unfrag_model::sample::Unread;

/// Servers asked at the same time. A connection holds one file descriptor (1024 are usual) and for a moment its largest
/// reply, some 60 KB.
pub const CONCURRENCY: usize = 128;

/// What to read, and how much at once.
#[derive(Debug, Clone)]
pub struct SurveyOptions {
    /// What to read of each server.
    pub sample: SampleOptions,
    /// Whom else to read beside the targets themselves; Cluster nodes and Sentinels' servers are always read.
    pub discover: DiscoverOptions,
    /// Read only the targets themselves, even of a Cluster.
    pub only_targets: bool,
    /// Servers asked at the same time.
    pub concurrency: usize,
}

impl Default for SurveyOptions {
    fn default() -> Self {
        Self {
            sample: SampleOptions::default(),
            discover: DiscoverOptions::default(),
            only_targets: false,
            concurrency: CONCURRENCY,
        }
    }
}

/// One server's sample, or why there is none.
#[derive(Debug)]
pub struct Reading {
    /// The server, or the target that led to none, without secrets.
    pub name: String,
    /// Its place in its deployment, when that is known.
    pub node: Option<Node>,
    /// What was read.
    pub result: Result<Sample, ClientError>,
}

/// All that was read.
#[derive(Debug, Default)]
pub struct Survey {
    /// One for each server, in the order of the targets, deployments together.
    pub readings: Vec<Reading>,
    /// Servers that are known of and were not tried, and why.
    pub problems: Vec<Unread>,
}

/// Reads every target, and every server that belongs with it.
pub async fn survey(targets: &[(Target, ConnectOptions)], options: &SurveyOptions) -> Survey {
    let slots = &Semaphore::new(options.concurrency.max(1));
    let named: &BTreeSet<Address> = &targets
        .iter()
        .filter_map(|(target, _)| match target {
            Target::Server(address) => Some(address.clone()),
            Target::Sentinel { .. } => None,
        })
        .collect();
    let visits = targets.iter().map(|(target, connect_options)| async move {
        let visit = Visit { connect_options, options, slots, named };
        match target {
            Target::Server(address) => visit.server(address).await,
            Target::Sentinel { .. } => visit.sentinel(target).await,
        }
    });
    let mut whole = Survey::default();
    let mut seen = BTreeSet::new();
    for part in join_all(visits).await {
        whole.readings.extend(part.readings.into_iter().filter(|r| seen.insert(identity(r))));
        for problem in part.problems {
            if !whole.problems.contains(&problem) {
                whole.problems.push(problem);
            }
        }
    }
    whole
}

/// Two names for one server, or two targets in one deployment, make one reading: the process's own run id tells.
fn identity(reading: &Reading) -> String {
    match reading.result.as_ref().ok().and_then(|sample| sample.info.text("run_id")) {
        Some(run_id) => format!("run {run_id}"),
        None => reading.name.clone(),
    }
}

/// Samples the nodes given, side by side, in their order.
pub async fn sample_all(
    nodes: &[Node],
    connect_options: &ConnectOptions,
    options: &SurveyOptions,
) -> Vec<Reading> {
    let slots = &Semaphore::new(options.concurrency.max(1));
    let readings = nodes.iter().map(|node| read(node, connect_options, &options.sample, slots));
    join_all(readings).await
}

async fn read(
    node: &Node,
    connect_options: &ConnectOptions,
    options: &SampleOptions,
    slots: &Semaphore,
) -> Reading {
    // The semaphore is never closed; without a slot we would only be less patient.
    let _slot = slots.acquire().await;
    let result = async {
        let mut connection = connect(&node.address, connect_options).await?;
        sample(&mut connection, options).await
    };
    Reading { name: node.address.to_string(), node: Some(node.clone()), result: result.await }
}

/// One target and what it leads to.
struct Visit<'a> {
    connect_options: &'a ConnectOptions,
    options: &'a SurveyOptions,
    slots: &'a Semaphore,
    /// Addresses that are targets themselves: each is read on its own visit.
    named: &'a BTreeSet<Address>,
}

impl Visit<'_> {
    async fn sentinel(&self, target: &Target) -> Survey {
        match topology::discover(target, self.connect_options, self.options.discover).await {
            Ok(deployment) => self.members(deployment, None).await,
            Err(error) => Survey::failed(target.to_string(), error),
        }
    }

    /// Samples the server first: its INFO tells whether it belongs to more.
    async fn server(&self, address: &Address) -> Survey {
        let name = address.to_string();
        let slot = self.slots.acquire().await;
        let mut connection = match topology::connect_any(address, self.connect_options).await {
            Ok(connection) => connection,
            Err(error) => return Survey::failed(name, error),
        };
        let sample = match sample(&mut connection, &self.options.sample).await {
            Ok(sample) => sample,
            Err(error) => return Survey::failed(name, error),
        };
        let alone = self.options.only_targets && topology::mode(&sample.info) != Mode::Sentinel;
        let found = if alone {
            Ok(Deployment::single(address, &sample.info))
        } else {
            let discover = self.options.discover;
            topology::expand(&mut connection, &sample.info, self.connect_options, discover).await
        };
        drop((connection, slot));
        match found {
            Ok(deployment) => self.members(deployment, Some(sample)).await,
            Err(error) if topology::mode(&sample.info) == Mode::Sentinel => {
                Survey::failed(name, error)
            }
            // The server broke off after its sample was complete: the sample counts.
            Err(error) => {
                let mut survey =
                    self.members(Deployment::single(address, &sample.info), Some(sample)).await;
                let (what, why) = (format!("what belongs with {name}"), error.problem.to_string());
                survey.problems.push(Unread { what, why });
                survey
            }
        }
    }

    /// Samples the members of a deployment; `seed` is the sample of the one that was asked.
    async fn members(&self, deployment: Deployment, mut seed: Option<Sample>) -> Survey {
        let Deployment { nodes, problems, .. } = deployment;
        let mut readings = vec![];
        for node in nodes {
            let own = seed.take_if(|_| node.is_seed);
            if own.is_none() && self.named.contains(&node.address) {
                continue;
            }
            readings.push(async move {
                match own {
                    Some(sample) => Reading {
                        name: node.address.to_string(),
                        node: Some(node),
                        result: Ok(sample),
                    },
                    None => {
                        read(&node, self.connect_options, &self.options.sample, self.slots).await
                    }
                }
            });
        }
        Survey { readings: join_all(readings).await, problems }
    }
}

impl Survey {
    fn failed(name: String, error: ClientError) -> Self {
        let reading = Reading { name, node: None, result: Err(error) };
        Self { readings: vec![reading], problems: vec![] }
    }
}
