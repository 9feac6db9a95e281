"""What Redis decides in one step, in Lua: two servers can then never count past each other.

Times are microseconds since 1970 by the clock of Redis, the same for all servers, unless the first
argument names one. A minute is a list of the moments of its requests, the newest first; a day a
hash of its number and its count; slots a sorted set with the moment when each ends by itself. Every
key expires. https://redis.io/docs/latest/develop/programmability/eval-intro/
"""

_TIME = """
local MINUTE, DAY = 60000000, 86400000000
local at = tonumber(ARGV[1])
if not at then
    local time = redis.call('TIME')
    at = time[1] * 1000000 + time[2]
end
local function whole(number) return string.format('%.0f', number) end

-- How many there are in the last minute, and in how long they are fewer than `limit`, or fewer.
local function minute(key, limit)
    -- What lies ahead was counted before the clock was set back, and would stay as long as that.
    local last = redis.call('LINDEX', key, 0)
    if last and tonumber(last) > at + MINUTE then redis.call('DEL', key) end
    local first = redis.call('LINDEX', key, -1)
    while first and tonumber(first) <= at - MINUTE do
        redis.call('RPOP', key)
        first = redis.call('LINDEX', key, -1)
    end
    local count = redis.call('LLEN', key)
    if count == 0 then return 0, MINUTE end
    local leaves = redis.call('LINDEX', key, -1 - math.max(0, count - limit))
    return count, tonumber(leaves) + MINUTE - at
end
local function add(key)
    redis.call('LPUSH', key, whole(at))
    redis.call('PEXPIRE', key, MINUTE / 1000)
end
"""

TAKE = (
    _TIME
    + """
local visitors, minutely, daily, streams =
    tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local used, slot, lease = tonumber(ARGV[6]), ARGV[7], tonumber(ARGV[8])
local nearest, longest
local function found(name, limit, count, reset)
    local left = limit - count
    if left <= 0 then
        if not longest or reset > longest[4] then longest = {name, limit, 0, reset} end
    elseif not nearest or left - 1 < nearest[3] then
        nearest = {'', limit, left - 1, reset}
    end
end
if visitors > 0 then found('visitor_per_minute', visitors, minute(KEYS[1], visitors)) end
if minutely > 0 then found('requests_per_minute', minutely, minute(KEYS[2], minutely)) end
local day, count = math.floor(at / DAY), used
if daily > 0 then
    local kept = redis.call('HMGET', KEYS[3], 'day', 'count')
    -- The table of the keys knows what was counted elsewhere while this Redis was gone.
    if kept[1] == whole(day) then count = math.max(tonumber(kept[2]), used) end
    found('requests_per_day', daily, count, (day + 1) * DAY - at)
end
if longest then return longest end
if streams > 0 then
    redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', whole(at))
    redis.call('ZREMRANGEBYSCORE', KEYS[4], whole(at + lease + MINUTE), '+inf')
    if redis.call('ZCARD', KEYS[4]) >= streams then return {'streams', streams, 0, 1000000} end
    redis.call('ZADD', KEYS[4], whole(at + lease), slot)
    redis.call('PEXPIRE', KEYS[4], lease / 1000)
end
if visitors > 0 then add(KEYS[1]) end
if minutely > 0 then add(KEYS[2]) end
if daily > 0 then
    redis.call('HSET', KEYS[3], 'day', whole(day), 'count', whole(count + 1))
    redis.call('PEXPIRE', KEYS[3], DAY / 1000)
end
return nearest or {'', 0, 0, 0}
"""
)
"""Count a request, unless that is past a limit: the limit's name or '', limit, remaining, reset.

Keys: minute of the visitor, minute, day and slots of the key. Arguments: time, the four limits (0
is none), uses today as far as the table knows, the slot, and how long it lives.
"""

GUESS = (
    _TIME
    + """
local most = tonumber(ARGV[2])
local count, reset = minute(KEYS[1], most)
if ARGV[3] == '1' and count < most then
    add(KEYS[1])
    if count == 0 then reset = MINUTE end
    count = count + 1
end
return {count >= most and 'wrong_keys' or '', most, math.max(0, most - count), reset}
"""
)
"""Look at the wrong keys of an address, or count one (third argument 1); as ``TAKE``."""

HOLD = (
    _TIME
    + """
local lease = tonumber(ARGV[2])
for each = 3, #ARGV do redis.call('ZADD', KEYS[1], whole(at + lease), ARGV[each]) end
redis.call('PEXPIRE', KEYS[1], lease / 1000)
return 1
"""
)
"""Keep slots (from the third argument on) alive, also those that Redis has forgotten."""
