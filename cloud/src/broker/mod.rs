//! The MQTT broker of one machine: Debian's mosquitto as a supervised child.
