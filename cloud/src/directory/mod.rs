//! Who is there now: gateways, cameras and regions from the retained live documents.
