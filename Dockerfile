# The gateway, with the embedded Postgres for a trial without DATABASE_URL: docker run -p 8080:8080 -v tollgate:/data …
# Node runs the TypeScript as it is, so nothing is compiled. `docker run … IMAGE account create --help` runs a command.

FROM node:26-bookworm-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# Optional dependencies stay: of the Postgres binaries npm takes those of this platform. What install scripts npm may
# run is in package.json's allowScripts.
RUN npm ci --omit=dev

FROM node:26-bookworm-slim
# The image's own user, uid 1000 with a home: Postgres refuses to run as root, and so should we. The volume takes over the
# owner and mode of /data, which holds the database, the keys of the trial and what a dead gateway left to settle.
RUN install -d -o node -g node -m 0700 /data
WORKDIR /app
COPY package.json LICENSE ./
COPY --from=dependencies /app/node_modules node_modules
COPY bin bin
COPY config config
COPY src src

# HOST: a container's loopback cannot be published.
ENV NODE_ENV=production HOST=0.0.0.0 TOLLGATE_DATA_DIR=/data
USER node
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
  CMD ["node", "-e", "fetch('http://127.0.0.1:' + (process.env.PORT || 8080) + '/healthz').then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]
# The exec form: SIGTERM reaches the gateway itself, which then drains. Give it the time: docker stop -t 60.
ENTRYPOINT ["node", "bin/tollgate.js"]
CMD ["serve"]
