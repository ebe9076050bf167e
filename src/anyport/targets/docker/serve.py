"""Serve the model of this image over HTTP; options after the image's name are those of `anyport serve`.

The port is --port, else what the first of these variables says: ANYPORT_PORT; AIP_HTTP_PORT, which Vertex AI sets;
SAGEMAKER_BIND_TO_PORT; PORT, which Cloud Run and others set, and the image itself.
"""

import os
import signal
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
PORTS = ("ANYPORT_PORT", "AIP_HTTP_PORT", "SAGEMAKER_BIND_TO_PORT", "PORT")


def port() -> str:
    """The port that no option gives."""
    return next((os.environ[name] for name in PORTS if os.environ.get(name)), "8080")


if __name__ == "__main__":
    # process 1 of a container is not ended by a signal that it does not handle, and the server's handler comes later
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    os.environ["ANYPORT_PORT"] = port()
    sys.path[:0] = [os.path.join(HERE, "runtime"), os.path.join(HERE, "lib", "server")]
    from anyport.serve.__main__ import main

    given = sys.argv[1:]
    # SageMaker starts a container with this one word
    sys.exit(main([os.path.join(HERE, "bundle"), *(given[1:] if given[:1] == ["serve"] else given)]))
