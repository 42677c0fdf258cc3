//! TLS for a listener, from PEM text.

use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A certificate with its key, and whether clients must have one too. Can be replaced while connections live: new
/// ones get the new certificate.
#[derive(Debug)]
pub struct Tls(ArcSwap<ServerConfig>);

/// Why PEM text is no TLS set-up. Never holds key material.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate chain cannot be read.
    #[error("the certificate is not PEM: {0}")]
    Certificate(rustls_pki_types::pem::Error),
    /// There is no certificate in it.
    #[error("the certificate file holds no certificate")]
    NoCertificate,
    /// The key cannot be read.
    #[error("the key is not a PEM private key")]
    Key,
    /// The client CA cannot be read.
    #[error("the client CA is not PEM: {0}")]
    ClientCa(rustls_pki_types::pem::Error),
    /// The client CA is not usable.
    #[error("the client CA cannot be used: {0}")]
    Verifier(String),
    /// Certificate and key do not belong together, or something else that rustls says.
    #[error("certificate and key cannot be used: {0}")]
    Rustls(rustls::Error),
}

impl Tls {
    /// From PEM: the chain (leaf first), its key, and, if clients must show a certificate, the CAs that sign theirs.
    pub fn from_pem(chain: &[u8], key: &[u8], client_ca: Option<&[u8]>) -> Result<Self, TlsError> {
        Ok(Self(ArcSwap::from_pointee(config(chain, key, client_ca)?)))
    }

    /// Uses `newer` for connections from now on.
    pub fn replace(&self, newer: &Self) {
        self.0.store(newer.0.load_full());
    }

    pub(super) async fn accept(&self, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(self.0.load_full()).accept(socket).await
    }
}

fn config(chain: &[u8], key: &[u8], client_ca: Option<&[u8]>) -> Result<ServerConfig, TlsError> {
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>().map_err(TlsError::Certificate)?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate);
    }
    // The parser's error could quote the key.
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::Key)?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Rustls)?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(pem) => builder.with_client_cert_verifier(verifier(pem, provider)?),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(TlsError::Rustls)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn verifier(
    pem: &[u8],
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.map_err(TlsError::ClientCa)?).map_err(TlsError::Rustls)?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| TlsError::Verifier(error.to_string()))
}
