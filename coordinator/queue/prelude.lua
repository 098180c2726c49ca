-- Before every script: what they share. Keys are named in redis.md. It is made anew for each call, hence is short.

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function number_text(value)
  return string.format('%.0f', value)
end

-- Writes event `number`, which must be one more than the job's field 'events' was, and is to be written there.
local function add_event(events, number, level, kind, message, data, created_at_ms)
  redis.call('XADD', events, number .. '-0', 'level', level, 'type', kind, 'message', message,
             'data', data, 'created_at_ms', created_at_ms)
end

-- Priority first, then submission: equal scores are ordered by the member, which begins with the sequence number.
local function member_of(sequence, id)
  return string.format('%016d', tonumber(sequence)) .. ':' .. id
end

-- Tells those who know the queue that a job which may have waited before waits again.
local requeued_kept = 10000
local function note_requeued(id)
  local count = redis.call('INCR', 'tf:requeues')
  redis.call('ZADD', 'tf:requeued', number_text(count), id)
  if count % requeued_kept == 0 then
    redis.call('ZREMRANGEBYRANK', 'tf:requeued', 0, -requeued_kept - 1)
  end
end

local function is_final(phase)
  return phase == 'succeeded' or phase == 'failed' or phase == 'cancelled'
end

-- The same call may arrive twice when its answer was lost: the second time it is told that it is done. A job
-- remembers its last calls; a repeat comes at once, so a few are enough.
local remembered_calls = 160  -- characters
local function has_call(calls, call)
  return calls and string.find(calls .. ' ', ' ' .. call .. ' ', 1, true) ~= nil
end
local function calls_with(calls, call)
  calls = (calls or '') .. ' ' .. call
  if #calls <= remembered_calls then
    return calls
  end
  local first = string.find(calls, ' ', #calls - remembered_calls + 1, true)
  return string.sub(calls, first)
end

local function refuse(code, message)
  return {code, message}
end
local function not_found(id)
  return refuse('not_found', 'no such job: ' .. id)
end

-- A refusal when somebody who leads no longer asks; generation 0 is not the leader's doing.
local function fenced(leader, generation)
  if generation == '0' then
    return nil
  end
  local leading = redis.call('HGET', leader, 'generation') or '0'
  if leading == generation then
    return nil
  end
  return refuse('permission_denied', 'another coordinator leads, in generation ' .. leading .. ', not ' .. generation)
end
