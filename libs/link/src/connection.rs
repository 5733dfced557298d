//! One connection: name resolution, TCP, TLS, CONNECT and its answer, then packets in and out.

use std::{
    io,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, Connect, ConnectProperties, ConnectReturnCode, Disconnect, DisconnectReasonCode, LastWill,
    LastWillProperties, Login, Packet,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf},
    net::TcpStream,
};

use crate::{Broker, Options, OptionsError, Will};

/// Why a connection could not be made. Each says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The options themselves.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The name has no address.
    #[error("broker {broker}: its name has no address; check the host in the url")]
    Name {
        /// The broker.
        broker: Broker,
        /// What the resolver says.
        source: io::Error,
    },
    /// Nobody listens.
    #[error("broker {broker}: connection refused; is the broker running, and is this its port?")]
    Refused {
        /// The broker.
        broker: Broker,
        /// What the system says.
        source: io::Error,
    },
    /// No answer in time.
    #[error("broker {broker}: no answer in {} s; check the address and firewalls between", .after.as_secs_f32())]
    Timeout {
        /// The broker.
        broker: Broker,
        /// How long was waited.
        after: Duration,
    },
    /// TLS failed: an untrusted certificate, a wrong name, a client certificate that is missing or refused.
    #[error("broker {broker}: TLS failed: {source}; check ca, cert and key, and the name in the broker's certificate")]
    Tls {
        /// The broker.
        broker: Broker,
        /// What TLS says.
        source: io::Error,
    },
    /// User name, password or certificate are not accepted.
    #[error("broker {broker}: not authorised ({reason}); check username and password, or the client certificate")]
    NotAuthorised {
        /// The broker.
        broker: Broker,
        /// The broker's reason code.
        reason: String,
    },
    /// It speaks another protocol.
    #[error("broker {broker}: it does not speak MQTT 5 ({reason}); use a broker that does, such as mosquitto 2")]
    Protocol {
        /// The broker.
        broker: Broker,
        /// What it did instead.
        reason: String,
    },
    /// The broker says no for another reason.
    #[error("broker {broker}: it refused the connection ({reason})")]
    Rejected {
        /// The broker.
        broker: Broker,
        /// The broker's reason code.
        reason: String,
    },
    /// The connection broke while it was made.
    #[error("broker {broker}: the connection broke: {source}")]
    Io {
        /// The broker.
        broker: Broker,
        /// What the system says.
        source: io::Error,
    },
}

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The session, with this number.
    Session(u64),
    /// A question only: another client id, nothing kept.
    Probe,
}

pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What the broker agreed to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub session_present: bool,
    pub keep_alive: Duration,
    pub receive_max: u16,
    pub packet_max: u32,
}

/// An accepted connection.
pub(crate) struct Connection {
    pub reader: Reader,
    pub writer: Writer,
    pub terms: Terms,
}

/// The reading half.
pub(crate) struct Reader {
    half: ReadHalf<Box<dyn Stream>>,
    buffer: BytesMut,
    packet_max: u32,
    /// When bytes last came.
    pub last: Instant,
}

/// The writing half and what waits to be written.
pub(crate) struct Writer {
    half: WriteHalf<Box<dyn Stream>>,
    pub buffer: BytesMut,
    unflushed: bool,
    /// When bytes last went.
    pub last: Instant,
}

impl Connection {
    /// Connects and says who we are, within the options' time.
    pub async fn open(options: &Options, purpose: Purpose) -> Result<Self, ConnectError> {
        let broker = &options.broker;
        let after = options.connect_timeout;
        tokio::time::timeout(after, Self::open_unbounded(options, purpose))
            .await
            .unwrap_or_else(|_| Err(ConnectError::Timeout { broker: broker.clone(), after }))
    }

    async fn open_unbounded(options: &Options, purpose: Purpose) -> Result<Self, ConnectError> {
        let broker = || options.broker.clone();
        let stream = transport(options).await?;
        let (read, write) = tokio::io::split(stream);
        let now = Instant::now();
        let mut reader = Reader { half: read, buffer: BytesMut::new(), packet_max: options.packet_max, last: now };
        let mut writer = Writer { half: write, buffer: BytesMut::new(), unflushed: false, last: now };
        writer
            .put(&connect_packet(options, purpose))
            .map_err(|reason| ConnectError::Rejected { broker: broker(), reason })?;
        let sent = async {
            while writer.is_pending() {
                writer.write().await?;
            }
            Ok(())
        };
        sent.await.map_err(|source| during_handshake(options, source))?;
        match reader.next().await {
            Ok(Packet::ConnAck(answer)) => {
                let terms = accepted(options, answer)?;
                Ok(Self { reader, writer, terms })
            }
            Ok(other) => {
                Err(ConnectError::Protocol { broker: broker(), reason: format!("it answered {}", name(&other)) })
            }
            Err(Broken::Malformed(reason)) => Err(ConnectError::Protocol { broker: broker(), reason }),
            Err(Broken::Io(source)) => Err(during_handshake(options, source)),
        }
    }

    /// Says goodbye and closes; errors no longer matter.
    pub async fn goodbye(&mut self) {
        let farewell = Disconnect { reason_code: DisconnectReasonCode::NormalDisconnection, properties: None };
        if self.writer.put(&Packet::Disconnect(farewell)).is_ok() {
            while self.writer.is_pending() && self.writer.write().await.is_ok() {}
        }
        let _ = self.writer.half.shutdown().await;
    }
}

async fn transport(options: &Options) -> Result<Box<dyn Stream>, ConnectError> {
    let broker = || options.broker.clone();
    let Broker { host, port, tls } = &options.broker;
    let addresses = tokio::net::lookup_host((host.as_str(), *port))
        .await
        .map_err(|source| ConnectError::Name { broker: broker(), source })?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Err(error) => last = error,
            Ok(tcp) => {
                let io = |source| ConnectError::Io { broker: broker(), source };
                tcp.set_nodelay(true).map_err(io)?;
                let Some(config) = options.tls.as_ref().filter(|_| *tls) else { return Ok(Box::new(tcp)) };
                let name = rustls_pki_types::ServerName::try_from(host.clone())
                    .map_err(|error| ConnectError::Tls { broker: broker(), source: io::Error::other(error) })?;
                let stream = tokio_rustls::TlsConnector::from(config.clone())
                    .connect(name, tcp)
                    .await
                    .map_err(|source| ConnectError::Tls { broker: broker(), source })?;
                return Ok(Box::new(stream));
            }
        }
    }
    Err(match last.kind() {
        io::ErrorKind::ConnectionRefused => ConnectError::Refused { broker: broker(), source: last },
        io::ErrorKind::NotFound => ConnectError::Name { broker: broker(), source: last },
        _ => ConnectError::Io { broker: broker(), source: last },
    })
}

/// With TLS 1.3 a server refuses a client certificate only after the handshake: the first read fails.
fn during_handshake(options: &Options, source: io::Error) -> ConnectError {
    let broker = options.broker.clone();
    if source.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
        return ConnectError::Tls { broker, source };
    }
    match source.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            let reason = if options.broker.tls {
                "it closed the connection"
            } else {
                "it closed the connection, as a port that expects TLS does"
            };
            ConnectError::Protocol { broker, reason: reason.to_owned() }
        }
        _ => ConnectError::Io { broker, source },
    }
}

fn connect_packet(options: &Options, purpose: Purpose) -> Packet {
    let seconds = |d: Duration| u32::try_from(d.as_secs()).unwrap_or(u32::MAX);
    let (client_id, session) = match purpose {
        Purpose::Session(number) => (options.client_id.clone(), Some(number)),
        Purpose::Probe => (format!("{}-probe-{:08x}", options.client_id, crate::backoff::random() as u32), None),
    };
    let mut properties = ConnectProperties::new();
    properties.session_expiry_interval = session.map(|_| seconds(options.session_expiry));
    properties.receive_maximum = Some(options.receive_max);
    properties.max_packet_size = Some(options.packet_max);
    let connect = Connect {
        keep_alive: u16::try_from(options.keep_alive.as_secs()).unwrap_or(u16::MAX),
        client_id,
        clean_start: session.is_none(),
        properties: Some(properties),
    };
    let will = session.and_then(|number| options.will.as_ref().map(|make| last_will(make(number), seconds)));
    let login = options
        .credentials
        .as_ref()
        .map(|c| Login { username: c.username.clone(), password: c.password.clone().unwrap_or_default() });
    Packet::Connect(connect, will, login)
}

fn last_will(will: Will, seconds: impl Fn(Duration) -> u32) -> LastWill {
    let properties = LastWillProperties {
        delay_interval: Some(seconds(will.delay)),
        payload_format_indicator: None,
        message_expiry_interval: None,
        content_type: will.content_type,
        response_topic: None,
        correlation_data: None,
        user_properties: Vec::new(),
    };
    LastWill::new(will.topic, will.payload, will.qos.into(), will.retain, Some(properties))
}

fn accepted(options: &Options, answer: ConnAck) -> Result<Terms, ConnectError> {
    use ConnectReturnCode as Code;
    let broker = options.broker.clone();
    let properties = answer.properties;
    let said = properties.as_ref().and_then(|p| p.reason_string.clone());
    let reason = said.unwrap_or_else(|| format!("{:?}", answer.code));
    match answer.code {
        Code::Success => {}
        Code::BadUserNamePassword | Code::NotAuthorized | Code::Banned | Code::BadAuthenticationMethod => {
            return Err(ConnectError::NotAuthorised { broker, reason });
        }
        Code::UnsupportedProtocolVersion | Code::RefusedProtocolVersion => {
            return Err(ConnectError::Protocol { broker, reason });
        }
        _ => return Err(ConnectError::Rejected { broker, reason }),
    }
    let p = properties.as_ref();
    Ok(Terms {
        session_present: answer.session_present,
        keep_alive: p
            .and_then(|p| p.server_keep_alive)
            .map_or(options.keep_alive, |s| Duration::from_secs(u64::from(s.max(1)))),
        receive_max: p.and_then(|p| p.receive_max).unwrap_or(u16::MAX).max(1),
        packet_max: p.and_then(|p| p.max_packet_size).unwrap_or(u32::MAX).min(options.packet_max),
    })
}

/// Why a connection ended.
#[derive(Debug)]
pub(crate) enum Broken {
    Io(io::Error),
    Malformed(String),
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                f.write_str(
                "the broker closed the connection without a reason, as it does when another client uses the same client id",
            )
            }
            Self::Io(error) => write!(f, "{error}"),
            Self::Malformed(reason) => write!(f, "the broker sent what is not MQTT 5: {reason}"),
        }
    }
}

/// Bytes that one read may bring: several small packets, or a piece of a large one.
const READ_CHUNK: usize = 32 << 10;

impl Reader {
    /// The next packet. Safe to cancel: what has been read stays.
    pub async fn next(&mut self) -> Result<Packet, Broken> {
        loop {
            if let Some(packet) = self.buffered() {
                return packet;
            }
            if self.half.read_buf(&mut self.buffer).await.map_err(Broken::Io)? == 0 {
                return Err(Broken::Io(io::ErrorKind::UnexpectedEof.into()));
            }
            self.last = Instant::now();
        }
    }

    /// The next packet where all of it has been read; makes room for it where it has not.
    pub fn buffered(&mut self) -> Option<Result<Packet, Broken>> {
        use rumqttc::v5::mqttbytes::Error;
        match Packet::read(&mut self.buffer, Some(self.packet_max)) {
            Ok(packet) => Some(Ok(packet)),
            Err(Error::InsufficientBytes(missing)) => {
                self.buffer.reserve(missing.clamp(READ_CHUNK, 4 << 20));
                None
            }
            Err(error) => Some(Err(Broken::Malformed(error.to_string()))),
        }
    }
}

impl Writer {
    /// Adds a packet to what waits.
    pub fn put(&mut self, packet: &Packet) -> Result<(), String> {
        packet.write(&mut self.buffer, None).map(drop).map_err(|error| error.to_string())
    }

    /// Whether anything waits to be written or flushed.
    pub fn is_pending(&self) -> bool {
        self.unflushed || !self.buffer.is_empty()
    }

    /// Writes some of what waits, or flushes when all is written. Safe to cancel.
    pub async fn write(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            self.half.flush().await?;
            self.unflushed = false;
            return Ok(());
        }
        if self.half.write_buf(&mut self.buffer).await? == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.unflushed = true;
        self.last = Instant::now();
        Ok(())
    }
}

/// A packet's name for messages.
pub(crate) fn name(packet: &Packet) -> &'static str {
    match packet {
        Packet::Auth(_) => "AUTH",
        Packet::Connect(..) => "CONNECT",
        Packet::ConnAck(_) => "CONNACK",
        Packet::Publish(_) => "PUBLISH",
        Packet::PubAck(_) => "PUBACK",
        Packet::PingReq(_) => "PINGREQ",
        Packet::PingResp(_) => "PINGRESP",
        Packet::Subscribe(_) => "SUBSCRIBE",
        Packet::SubAck(_) => "SUBACK",
        Packet::PubRec(_) => "PUBREC",
        Packet::PubRel(_) => "PUBREL",
        Packet::PubComp(_) => "PUBCOMP",
        Packet::Unsubscribe(_) => "UNSUBSCRIBE",
        Packet::UnsubAck(_) => "UNSUBACK",
        Packet::Disconnect(_) => "DISCONNECT",
    }
}
