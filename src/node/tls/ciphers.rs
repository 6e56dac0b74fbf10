//! Which ciphers are offered first, and whose implementation of them is used.

use rustls::{
    SupportedCipherSuite,
    crypto::{
        aws_lc_rs::cipher_suite::{TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256},
        ring::cipher_suite as ring,
    },
};

/// The ciphers that suit a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ciphers {
    /// AES-GCM first, also where a dialer that doesn't know this machine asks for ChaCha20 first (stock rust-libp2p does).
    Aes,
    /// The same by ring, which uses the CPU's instructions for several blocks at a time also where AVX-512 is missing;
    /// aws-lc wants that for them. Records of 16 KiB on an AMD EPYC of that kind: 6.9 GB/s sealed and 4.9 opened in place
    /// of 2.7 and 2.4.
    AesByRing,
    ChaCha,
}

impl Ciphers {
    /// AES only where the CPU has instructions for it and for GCM's multiplication.
    pub fn for_this_machine() -> Self {
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        {
            use std::arch::is_x86_feature_detected as has;
            let has_avx512 = has!("avx512f") && has!("avx512dq") && has!("avx512bw") && has!("avx512vl");
            match has!("aes") && has!("pclmulqdq") {
                true if has!("vaes") && has!("vpclmulqdq") && has!("avx2") && !has_avx512 => Self::AesByRing,
                true => Self::Aes,
                false => Self::ChaCha,
            }
        }
        #[cfg(target_arch = "aarch64")]
        match std::arch::is_aarch64_feature_detected!("aes") {
            true => Self::Aes,
            false => Self::ChaCha,
        }
        #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
        Self::ChaCha
    }

    /// All that are offered, the best first.
    pub fn suites(self) -> Vec<SupportedCipherSuite> {
        match self {
            Self::Aes => vec![TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256],
            Self::AesByRing => {
                vec![ring::TLS13_AES_128_GCM_SHA256, ring::TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256]
            }
            Self::ChaCha => vec![TLS13_CHACHA20_POLY1305_SHA256, TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384],
        }
    }

    /// Whether a listener takes its own first choice rather than the dialer's.
    pub fn come_first_here(self) -> bool {
        self != Self::ChaCha
    }
}
