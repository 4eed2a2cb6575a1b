# One image for every process of the Procfile: `docker run IMAGE web` (the default), `worker` or `release`.
FROM python:3.13-slim

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN useradd --system --no-create-home --shell /usr/sbin/nologin jobqueue
WORKDIR /srv/jobqueue

COPY requirements.txt .
RUN pip install -r requirements.txt
COPY . .

USER jobqueue
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ.get('PORT', '3000') + '/health', timeout=4)"]
ENTRYPOINT ["/bin/sh", "-c", "command=$(sed -n \"s/^$0: *//p\" Procfile); eval \"exec ${command:?is not in the Procfile: $0}\""]
CMD ["web"]
