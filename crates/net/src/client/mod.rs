//! HTTP requests to the API of control, as the command line makes them.
