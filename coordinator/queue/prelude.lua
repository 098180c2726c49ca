-- Before every script: what they share. Keys are named in redis.md.

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function number_text(value)
  return string.format('%.0f', value)
end

local function field(job, name)
  return redis.call('HGET', job, name) or ''
end

-- Writes event `number`, which must be one more than the job's field 'events' was, and is to be written there.
local function add_event(events, number, level, kind, message, data, created_at_ms)
  redis.call('XADD', events, number .. '-0', 'level', level, 'type', kind, 'message', message,
             'data', data, 'created_at_ms', created_at_ms)
end
local function append_event(job, events, level, kind, message, data, created_at_ms)
  add_event(events, redis.call('HINCRBY', job, 'events', 1), level, kind, message, data, created_at_ms)
end

-- Priority first, then submission: equal scores are ordered by the member, which begins with the sequence number.
local function member_of(sequence, id)
  return string.format('%016d', tonumber(sequence)) .. ':' .. id
end
local function queue_member(job, id)
  return member_of(field(job, 'sequence'), id)
end
local function enqueue(job, id, queued, now)
  redis.call('HSET', job, 'queued_at_ms', now)
  redis.call('ZADD', queued, number_text(-tonumber(field(job, 'priority'))), queue_member(job, id))
end
local function dequeue(job, id, queued)
  redis.call('ZREM', queued, queue_member(job, id))
end

local function is_final(phase)
  return phase == 'succeeded' or phase == 'failed' or phase == 'cancelled'
end

-- The same call may arrive twice when its answer was lost: the second time it is told that it is done. A job
-- remembers its last calls; a repeat comes at once, so a few are enough.
local remembered_calls = 8
local function has_call(calls, call)
  return calls and string.find(calls .. ' ', ' ' .. call .. ' ', 1, true) ~= nil
end
local function calls_with(calls, call)
  calls = (calls or '') .. ' ' .. call
  local _, count = string.gsub(calls, ' ', ' ')
  if count > remembered_calls then
    calls = string.gsub(calls, '^ [^ ]+', '', 1)
  end
  return calls
end
local function called_before(job, call)
  return has_call(field(job, 'calls'), call)
end
local function remember_call(job, call)
  redis.call('HSET', job, 'calls', calls_with(field(job, 'calls'), call))
end

local function done(job)
  return {'ok', redis.call('HGETALL', job)}
end
local function refuse(code, message)
  return {code, message}
end
local function not_found(id)
  return refuse('not_found', 'no such job: ' .. id)
end
local function ended_already(id, phase)
  return refuse('conflict', 'the job has ended already (' .. phase .. '): ' .. id)
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
