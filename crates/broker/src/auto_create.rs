//! Topics that come into being because somebody asks for them.
