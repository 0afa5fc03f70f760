//! TLS against a real server that demands a client certificate.

use super::{CANARY, error, read, start};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use std::path::PathBuf;
use unfrag_client::{Address, ConnectOptions, ErrorKind, Problem, TlsOptions, TlsProblem};
use unfrag_testbed::tls::Files;
use unfrag_testbed::{Kind, Options, Server};

fn server(files: &Files) -> Option<Server> {
    let options = Options { tls: Some(files.clone()), ..Options::default() };
    start(Kind::Redis7, &options)
}

fn good(files: &Files) -> TlsOptions {
    TlsOptions {
        ca_file: Some(files.ca()),
        cert: Some(files.client_certificate()),
        key: Some(files.client_key()),
        ..TlsOptions::default()
    }
}

fn with(tls: TlsOptions) -> ConnectOptions {
    ConnectOptions { tls: Some(tls), ..ConnectOptions::default() }
}

fn problem(address: &Address, tls: TlsOptions) -> TlsProblem {
    let error = error(address, &with(tls));
    match *error.problem {
        Problem::Tls(problem) => problem,
        other => panic!("not TLS: {other}"),
    }
}

#[test]
fn good_certificates_and_every_bad_one() {
    let files = Files::make().expect("certificates");
    let Some(server) = server(&files) else { return };
    let there = Address::tcp("127.0.0.1", server.tls_port());
    let localhost = Address::tcp("localhost", server.tls_port());
    for resp3 in [false, true] {
        let options = ConnectOptions { resp3, ..with(good(&files)) };
        assert_eq!(read(&there, &options).expect("a sample").unread, []);
    }
    assert!(read(&localhost, &with(good(&files))).is_ok());

    let strange = Files::make().expect("other certificates");
    let tls = TlsOptions { ca_file: Some(strange.ca()), ..good(&files) };
    assert!(matches!(problem(&there, tls), TlsProblem::UnknownAuthority));

    let tls = TlsOptions { cert: None, key: None, ..good(&files) };
    let missing = problem(&there, tls);
    assert!(matches!(missing, TlsProblem::ClientCertificateRequired), "{missing}");

    let tls = TlsOptions {
        cert: Some(strange.client_certificate()),
        key: Some(strange.client_key()),
        ..good(&files)
    };
    let refused = problem(&there, tls);
    assert!(matches!(refused, TlsProblem::ClientCertificateRefused { .. }), "{refused}");

    let tls = TlsOptions { sni: Some("elsewhere.internal".into()), ..good(&files) };
    let name = problem(&there, tls.clone());
    let TlsProblem::WrongName { wanted, presented } = &name else { panic!("{name}") };
    assert_eq!(wanted, "elsewhere.internal");
    assert!(presented.iter().any(|p| p == "localhost"), "{name}");
    assert!(read(&there, &with(TlsOptions { any_name: true, ..tls })).is_ok(), "--tls-any-name");
    let tls = TlsOptions { any_name: true, ca_file: Some(strange.ca()), ..good(&files) };
    assert!(
        matches!(problem(&there, tls), TlsProblem::UnknownAuthority),
        "only the name is skipped"
    );

    let tls = TlsOptions { ca_file: None, insecure: true, ..good(&files) };
    assert!(read(&there, &with(tls)).is_ok(), "--insecure");
    let tls = TlsOptions {
        ca_file: None,
        ca_dir: files.ca().parent().map(PathBuf::from),
        ..good(&files)
    };
    assert!(read(&there, &with(tls)).is_ok(), "--cacertdir");
}

/// The one self-signed certificate of a small installation, as `openssl req -x509` makes it.
#[test]
fn a_certificate_that_is_itself_named_as_trusted() {
    for (year, is_good) in [(2100, true), (2020, false)] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| folder.path().join(name);
        let key = KeyPair::generate().expect("a key");
        let mut own = CertificateParams::new(vec![]).expect("parameters");
        own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        own.not_after = rcgen::date_time_ymd(year, 1, 1);
        std::fs::write(path("own.crt"), own.self_signed(&key).expect("signed").pem())
            .expect("written");
        std::fs::write(path("own.key"), key.serialize_pem()).expect("written");
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
        let port = port.expect("a port").port().to_string();
        let (cert, key) =
            (path("own.crt").display().to_string(), path("own.key").display().to_string());
        let args = ["--tls-port", &port, "--tls-cert-file", &cert, "--tls-key-file", &key];
        let more = ["--tls-ca-cert-file", &cert, "--tls-auth-clients", "no"];
        let Some(_server) = start(Kind::Redis7, &Options::args(&[args.as_slice(), &more].concat()))
        else {
            return;
        };
        let there = Address::tcp("127.0.0.1", port.parse().expect("a port"));
        let named = TlsOptions { ca_file: Some(path("own.crt")), ..TlsOptions::default() };
        if is_good {
            assert!(read(&there, &with(named)).is_ok());
        } else {
            let expired = problem(&there, named);
            assert!(expired.to_string().contains("has expired"), "{expired}");
        }
        let unnamed = TlsOptions {
            ca_file: Some(Files::make().expect("others").ca()),
            ..TlsOptions::default()
        };
        problem(&there, unnamed.clone());
        assert!(read(&there, &with(TlsOptions { insecure: true, ..unnamed })).is_ok());
    }
}

#[test]
fn tls_on_one_side_only() {
    let files = Files::make().expect("certificates");
    let Some(server) = server(&files) else { return };
    let plain = Address::tcp("127.0.0.1", server.port());
    let found = problem(&plain, good(&files));
    assert!(matches!(found, TlsProblem::ServerSpeaksPlaintext), "{found}");
    let encrypted = Address::tcp("127.0.0.1", server.tls_port());
    let error = error(&encrypted, &ConnectOptions::default());
    let wants_tls = matches!(*error.problem, Problem::Tls(TlsProblem::ServerWantsTls));
    // A server that closes without an alert leaves nothing to tell by: the hint speaks of TLS.
    let says_so = error.hint().is_some_and(|hint| hint.contains("--tls"));
    assert!(wants_tls || says_so, "{error}");
}

#[test]
fn files_that_are_not_what_they_should_be() {
    let files = Files::make().expect("certificates");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rubbish = folder.path().join("rubbish.pem");
    std::fs::write(&rubbish, CANARY).expect("written");
    let nowhere = Address::tcp("127.0.0.1", 1);
    let missing = PathBuf::from("/nonexistent.pem");
    // The files are looked at before anyone is asked, wherever nobody listens.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let there = Address::tcp("127.0.0.1", listener.local_addr().expect("an address").port());
    for tls in [
        TlsOptions { ca_file: Some(missing.clone()), ..good(&files) },
        TlsOptions { ca_file: Some(rubbish.clone()), ..good(&files) },
        TlsOptions { cert: Some(rubbish.clone()), ..good(&files) },
        TlsOptions { key: Some(rubbish.clone()), ..good(&files) },
        TlsOptions { key: Some(files.ca()), ..good(&files) },
        TlsOptions { key: None, ..good(&files) },
        TlsOptions { ca_file: None, ca_dir: Some(missing), ..good(&files) },
        TlsOptions { ca_file: None, ca_dir: Some(folder.path().into()), ..good(&files) },
        TlsOptions { sni: Some("not a name".into()), ..good(&files) },
    ] {
        let error = error(&there, &with(tls.clone()));
        assert_eq!(error.kind(), ErrorKind::Usage, "{tls:?}: {error}");
        let refused = super::error(&nowhere, &with(tls));
        assert!(matches!(*refused.problem, Problem::Tls(_)), "{refused}");
    }
}
