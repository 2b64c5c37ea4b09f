/**
 * What Redis runs, each in one round trip and atomically. Of a subject it keeps two keys: its window, a hash that ends a minute
 * after it began (`ends`, by Redis's clock, also tells it from the next one), and its slots, a sorted set of the requests that run
 * by the end of their leases. Both expire by themselves: nothing is left of who has gone.
 */

/** Arguments that all begin with: the time ('' : Redis's own), and the lease in milliseconds. */
const NOW = `
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local lease = tonumber(ARGV[2])
`;

/**
 * KEYS: the window and the slots of each subject. ARGV: then the window's length, the request ('' : only look), its tokens, and of each
 * subject its limits of requests, tokens and concurrency ('' : none). Returns whether it was taken, then of each subject requests,
 * tokens, slots, and when its window ends and how long until then (0, 0: none runs).
 */
export const TAKE = `${NOW}
local length, request, tokens = tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])
local levels, fits = {}, request ~= ''
for i = 1, #KEYS / 2 do
  local window, slots = KEYS[2 * i - 1], KEYS[2 * i]
  local most = { tonumber(ARGV[3 * i + 3]), tonumber(ARGV[3 * i + 4]), tonumber(ARGV[3 * i + 5]) }
  local level = { 0, 0, 0, 0, most = most, window = window, slots = slots }
  if most[1] or most[2] then
    local kept = redis.call('HMGET', window, 'requests', 'tokens', 'ends')
    local left = kept[3] and kept[3] - now or 0
    if left > 0 and left <= length then
      level[1], level[2], level[4] = tonumber(kept[1]), tonumber(kept[2]), tonumber(kept[3])
    end
  end
  if most[3] then
    redis.call('ZREMRANGEBYSCORE', slots, '-inf', now)
    level[3] = redis.call('ZCARD', slots)
  end
  fits = fits and (not most[1] or level[1] < most[1]) and (not most[2] or level[2] + tokens <= most[2])
    and (not most[3] or level[3] < most[3])
  levels[i] = level
end
local answer = { fits and 1 or 0 }
for _, level in ipairs(levels) do
  if fits and (level.most[1] or level.most[2]) then
    if level[4] == 0 then
      level[4] = now + length
      redis.call('HSET', level.window, 'requests', 0, 'tokens', 0, 'ends', level[4])
      redis.call('PEXPIRE', level.window, length)
    end
    level[1] = redis.call('HINCRBY', level.window, 'requests', 1)
    level[2] = redis.call('HINCRBY', level.window, 'tokens', tokens)
  end
  if fits and level.most[3] then
    redis.call('ZADD', level.slots, now + lease, request)
    redis.call('PEXPIRE', level.slots, lease)
    level[3] = level[3] + 1
  end
  for _, value in ipairs(level) do answer[#answer + 1] = value end
  answer[#answer + 1] = level[4] == 0 and 0 or level[4] - now
end
return answer
`;

/** KEYS as above. ARGV: then the request, what to add to its requests and tokens, and when each window ends that it counts in. */
export const GIVE_BACK = `${NOW}
for i = 1, #KEYS / 2 do
  local window, slots = KEYS[2 * i - 1], KEYS[2 * i]
  if redis.call('HGET', window, 'ends') == ARGV[i + 5] then
    redis.call('HINCRBY', window, 'requests', ARGV[4])
    redis.call('HINCRBY', window, 'tokens', ARGV[5])
  end
  redis.call('ZREM', slots, ARGV[3])
end
`;

/** Says that a request still runs. KEYS: its slots. ARGV: then the request. It has its slots again where they were lost. */
export const RENEW = `${NOW}
for _, slots in ipairs(KEYS) do
  redis.call('ZADD', slots, now + lease, ARGV[3])
  redis.call('PEXPIRE', slots, lease)
end
`;
